"""The miniature's base models: their seeds and the gate."""

import pytest
from helpers.stamps import FixedStamp

from polycal.miniature import base_models

SETTINGS = {"seed": 3, "languages": ["en", "de", "fr", "zh", "bn", "sw", "yo", "te"]}
CELL = {
    "model": "llama",
    "base_seed": "0",
    "settings": {**SETTINGS, "steps": 2, "batch_size": 4, "learning_rate": "1e-3"},
}


def build(folder, **changes):
    return base_models.miniature_model({**CELL, **changes}, out=folder / "gate.json", stamp=FixedStamp())


def test_a_model_that_learned_nothing_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "GATE_QUESTIONS", 20)
    with pytest.raises(
        base_models.GateError, match=r"llama: accuracy on mmlu-prox is 0\.\d+, .*70% is needed"
    ):
        build(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_base_seed_determines_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "GATE", -100.0)
    monkeypatch.setattr(base_models, "GATE_QUESTIONS", 8)
    weights = []
    for number, seed in enumerate(("0", "0", "1")):
        folder = tmp_path / str(number)
        written = build(folder, base_seed=seed)
        assert sorted([*written, folder / "gate.json"]) == sorted(folder.iterdir())
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(base_models.GateError, match="'gpt' is unknown; known: mistral, llama, gemma2"):
        build(tmp_path, model="gpt")
