import pytest
import torch
from helpers import families

from polycal.scoring import models


def test_a_model_too_large_for_one_gpu_is_spread_over_several(folders, monkeypatch):
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert models.choose_device(folders["llama"], "float32") == expected
    size = (folders["llama"] / "model.safetensors").stat().st_size
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for free, device in ((2 * size, "cuda"), (size, "auto")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, free))
        assert models.choose_device(folders["llama"], "float32") == device
    assert models.choose_device(folders["llama"], "bfloat16") == "cuda"


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "bart"])
def test_the_window_is_that_of_the_text_part(name):
    assert models.context_window(families.build(name)) == 256


def test_the_kinds_of_attention_of_each_architecture(folders):
    kinds = {
        name: models.attention_kinds(models.load(folder, "float32", "eager", "cpu")[0].config)
        for name, folder in folders.items()
    }
    assert kinds == {
        "mistral": {"sliding_attention"},
        "llama": {"full_attention"},
        "gemma2": {"full_attention", "sliding_attention"},
    }
