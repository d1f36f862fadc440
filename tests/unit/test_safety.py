"""Nothing that polycal reads can run: no pickles, no remote code, no shell that takes a value for words."""

import ast
import pickle
import re
from pathlib import Path

import pytest
from helpers import models

from polycal.artifacts import checkpoints
from polycal.scoring import models as scoring_models
from polycal.study.config_loading import ConfigError, resolve
from polycal.study.config_values import NAME

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/polycal").rglob("*.py"))
RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: word.value for word in node.keywords}


def test_nothing_is_unpickled_and_no_code_of_a_repository_runs():
    assert len(SOURCES) > 80
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        imported = {
            a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
        }
        imported |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not imported & {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}, path
        for name, words in calls(path):
            said = {key: ast.unparse(value) for key, value in words.items() if key}
            assert said.get("trust_remote_code", "False") == "False", (path, name)
            assert name not in ("eval", "exec", "os.system", "yaml.load", "os.popen"), (path, name)
            assert said.get("shell", "False") == "False", (path, name)
            if name == "torch.load":
                assert said.get("weights_only") == "True", path
            if name.endswith("Model.from_pretrained") or "AutoModel" in name:
                assert said.get("use_safetensors") == "True", (path, name)


def test_every_value_that_reaches_a_shell_is_quoted():
    # a hexadecimal number, whole numbers by Snakemake and the schema, and commands that shlex quoted
    plain = {"params.code", "threads", "params.probes"}
    seen = 0
    for path in RULES:
        # every part of a command is a string on a line of its own
        parts = re.findall(
            r'^\s+"((?:[^"]*polycal |\(polycal| |trap).*)"\)?$', path.read_text(), re.MULTILINE
        )
        for value in re.findall(r"\{([^{}]+)\}", "".join(parts)):
            seen += 1
            name, _, how = value.partition(":")
            assert how == "q" or name in plain or name.startswith("resources."), (path, value)
    assert seen > 60


@pytest.mark.parametrize(
    "name", ["a/b", "../up", "a b", "$(x)", "a;b", "'", "{x}", "", ".hidden", "-flag", "a\nb", "ä"]
)
@pytest.mark.parametrize("catalogue", ["models", "data", "benchmarks", "recipes", "protocols"])
def test_a_name_that_is_no_plain_word_is_refused(name, catalogue):
    with pytest.raises(ConfigError):
        resolve({"study": "s", catalogue: {name: {"path": "x"}}, "grid": {}})
    assert not re.fullmatch(NAME, name)


class Bomb:
    def __reduce__(self):
        return (Path("hurt").touch, ())


def test_pickled_weights_beside_safetensors_are_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models.save("llama", tmp_path / "model")
    for name in ("pytorch_model.bin", "training_args.bin", "model.pt"):
        (tmp_path / "model" / name).write_bytes(pickle.dumps(Bomb()))
    checkpoint = checkpoints.read(tmp_path / "model")
    scoring_models.load(checkpoint.folder, "float32", "sdpa", "cpu")
    assert not (tmp_path / "hurt").exists()
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(checkpoints.CheckpointError, match="no weights"):
        checkpoints.read(tmp_path / "model")
    with pytest.raises(checkpoints.CheckpointError, match="no weights"):
        scoring_models.load(tmp_path / "model", "float32", "sdpa", "cpu")
    assert not (tmp_path / "hurt").exists()
