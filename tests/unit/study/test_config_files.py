"""YAML files: text that YAML would read as something else is refused."""

import pytest

from polycal.study import config_files
from polycal.study.config_files import ConfigError


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"study: a\nstudy: b\n", "the key 'study' is given twice; give it once.*line 2"),
        (b"recipes:\n  r: {epochs: 1}\n  r: {epochs: 2}\n", "the key 'r' is given twice.*line 3"),
        (b'recipes: {r: {epochs: 1, "epochs": 2}}\n', "the key 'epochs' is given twice"),
        (b"grid: {seeds: [010]}\n", "010 is not in plain decimal digits; write it so"),
        (b"grid: {seeds: [0x10]}\n", "0x10 is not in plain decimal digits"),
        (b"grid: {seeds: [1_000]}\n", "1_000 is not in plain decimal digits"),
        (b"grid: {seeds: [1:30]}\n", "1:30 is not in plain decimal digits"),
        (b"grid: {betas: [1:30.5]}\n", "1:30.5 is not a decimal number"),
        (b"a: &a [*a]\n", "the anchor 'a' contains itself"),
        (b"models: &m\n  own: *m\n", "the anchor 'm' contains itself"),
        (b"study: 2020-13-45\n", "month must be in 1..12; put it in quotes"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "lists or mappings are nested too deeply"),
        (b"a: " + b"9" * 5000, "put it in quotes if it is text"),
        ("study: x\n".encode("utf-16"), "byte 0 is not UTF-8; a configuration is UTF-8 text"),
        ("study: é\n".encode("latin-1"), "byte 7 is not UTF-8"),
        (b"study: !!python/object/apply:os.getcwd []\n", "not valid YAML: could not determine a constructor"),
        (b"- a\n", "must contain a mapping of keys, not a list"),
    ],
)
def test_text_that_yaml_would_misread_is_refused_in_one_line(tmp_path, content, sentence):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"study\.yaml: .*{sentence}") as refused:
        config_files.read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("\ufeffa: 1\r\nb: -12\r\n", {"a": 1, "b": -12}),
        ("a: [0, 1e-3, 1.5e+3, 0.1]\n", {"a": [0, "1e-3", 1500.0, 0.1]}),
        ("a: &x [1, 2]\nb: *x\nc: *x\n", {"a": [1, 2], "b": [1, 2], "c": [1, 2]}),
        (
            "d: &y {k: 1}\na: {b: &x {<<: *y, k: 2}}\nc: {<<: *x, k: 3}\n",
            {"d": {"k": 1}, "a": {"b": {"k": 2}}, "c": {"k": 3}},
        ),
    ],
)
def test_other_yaml_is_accepted(tmp_path, text, value):
    path = tmp_path / "study.yaml"
    path.write_text(text, newline="")
    assert config_files.read(path) == value


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config_files.read(tmp_path)
