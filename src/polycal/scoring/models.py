"""Loading a causal language model, and what scoring needs to know of it."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from polycal.artifacts import weight_files
from polycal.data import model_loading


def choose_device(folder: Path, dtype: str) -> str:
    """``cpu`` without a GPU, ``cuda`` if the weights fit one GPU, else ``auto``.

    The weights fit if they take at most 80% of the free memory; the rest is for activations and logits. Raises
    CheckpointError if the files of the folder are not whole.
    """
    weight_files.check(folder)
    if not torch.cuda.is_available():
        return "cpu"
    parameters = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            names = weights.keys()
            parameters += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    available = 0.8 * torch.cuda.mem_get_info()[0]
    return "cuda" if parameters * getattr(torch, dtype).itemsize < available else "auto"


def load(folder: Path, dtype: str, attention: str, device: str | Mapping[str, str | int]) -> tuple[Any, Any]:
    """Model and tokenizer of a local folder, without remote code and without a network.

    ``device`` is one device, ``auto`` to spread the layers over all GPUs and then main memory, or a mapping
    of modules to devices as accelerate takes it. Raises CheckpointError or ModelError for a model that cannot be
    loaded as it was saved.
    """
    tokenizer = model_loading.load_tokenizer(folder)
    model = model_loading.load_model(
        folder, tokenizer, dtype=dtype, attention=attention, device_map=None if device == "cpu" else device
    )
    return model.eval(), tokenizer


def context_window(model: Any) -> int:
    """Most tokens that a sequence may have; composite models say it in the configuration of their text part."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31


def attention_kinds(config: Any) -> set[str]:
    """The kinds of attention among a model's layers, such as ``full_attention`` and ``sliding_attention``."""
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return set(layer_types)
    return {"full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"}


def seconds_since(start: float, result: Tensor) -> float:
    """Wall seconds from ``start`` (``time.perf_counter``) until ``result`` is computed on its device."""
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
    return time.perf_counter() - start
