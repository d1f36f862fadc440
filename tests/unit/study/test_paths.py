"""Every path is below resources/ or results/. Different results have different paths."""

import string
from pathlib import Path

from polycal.study import paths
from polycal.vocabulary import CELL_KEYS, CHECKPOINT_KEYS

TEMPLATES = {name: value for name, value in vars(paths).items() if name.isupper() and isinstance(value, str)}
FRAGMENTS = {"BASE_MODEL", "CHECKPOINT", "PARTIAL_SUFFIX"}


def fields(template):
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def test_every_path_is_below_one_of_two_folders_and_unique():
    whole = {name: path for name, path in TEMPLATES.items() if name not in FRAGMENTS}
    assert {path.split("/")[0] for path in whole.values()} == {"resources", "results"}
    assert len(set(whole.values())) == len(whole)


def test_a_record_is_named_by_all_keys_of_its_cell_in_their_order():
    assert fields(paths.CHECKPOINT) == list(CHECKPOINT_KEYS)
    assert fields(paths.SCORES) == list(CELL_KEYS)
    assert fields(paths.FINETUNED) == [*CHECKPOINT_KEYS, "lr"]
    assert fields(paths.NEXT_TOKEN) == [*CHECKPOINT_KEYS, "heldout"]
    assert fields(paths.GENERATIONS) == [*CHECKPOINT_KEYS, "benchmark", "language"]
    assert fields(paths.CLUSTERS) == [*CHECKPOINT_KEYS, "benchmark", "entailment", "language"]
    assert fields(paths.MODEL) == ["model", "base_seed"]


def test_the_patterns_find_the_results_of_all_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    templates = (
        paths.SCORES, paths.EMBEDDINGS, paths.NEXT_TOKEN, paths.GENERATIONS, paths.CLUSTERS, paths.FINETUNED,
        paths.SELECTED,
    )  # fmt: skip
    written = [template.format(**dict.fromkeys(fields(template), "x")) for template in templates]
    for name in written:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert [path.as_posix() for pattern in paths.RECORDS for path in Path().glob(pattern)] == written
    folders = [path.as_posix() for path in Path().glob(paths.CHECKPOINT_FOLDERS)]
    assert folders == [
        str(Path(paths.FINETUNED.format(**dict.fromkeys(fields(paths.FINETUNED), "x"))).parent)
    ]
