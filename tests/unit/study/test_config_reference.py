"""The generated reference and schemas are up to date, and the schema accepts the shipped configurations."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from polycal.study import config_reference
from polycal.study.config_loading import merge

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"
MINI = [CONFIG / "mini.yaml"]
STUDIES = [
    [],
    MINI,
    [CONFIG / "own-model.yaml"],
    *([path] for path in sorted(CONFIG.glob("experiments/*.yaml"))),
    *([*MINI, path] for path in sorted(CONFIG.glob("experiments/mini/*.yaml"))),
    *([*MINI, path] for path in sorted(CONFIG.glob("own/*.yaml"))),
]


def test_the_reference_and_the_schemas_are_up_to_date():
    for path, text in config_reference.texts(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is outdated: run `polycal config-docs`"


@pytest.mark.parametrize("files", STUDIES, ids=lambda files: "+".join(f.stem for f in files) or "paper")
def test_the_schema_accepts_every_shipped_study(files):
    merged = {}
    for path in [CONFIG / "languages.yaml", CONFIG / "config.yaml", *files]:
        merged = merge(merged, yaml.safe_load(path.read_text()))
    jsonschema.validate(merged, config_reference.schema())
    with pytest.raises(jsonschema.ValidationError, match="'modles' was unexpected"):
        jsonschema.validate({**merged, "modles": {}}, config_reference.schema())


def test_every_key_has_a_row_with_a_meaning():
    text = config_reference.markdown()
    for row in text.splitlines():
        if row.startswith("| `"):
            assert row.count("|") - row.count("\\|") == 5, row
            assert len(row.split("|")[-2].strip()) > 3, row
    for title in ("models.NAME", "grid", "recipes.NAME", "measure.normalise", "measure.sensitivity"):
        assert f"## `{title}`\n" in text
