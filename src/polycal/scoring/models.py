"""Load a causal language model for scoring, choose its device, and describe its window and attention."""

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

    The weights fit if they need less than 80% of the free memory. The rest is for activations and logits.
    Raises CheckpointError if there is a GPU and the files of the folder are incomplete. Without a GPU they
    are not read.
    """
    if not torch.cuda.is_available():
        return "cpu"
    weight_files.check(folder)
    parameters = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            names = weights.keys()
            parameters += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    available = 0.8 * torch.cuda.mem_get_info()[0]
    return "cuda" if parameters * getattr(torch, dtype).itemsize < available else "auto"


def load(folder: Path, dtype: str, attention: str, device: str | Mapping[str, str | int]) -> tuple[Any, Any]:
    """The model and the tokenizer in a local folder. No code in the folder is run, and nothing is downloaded.

    ``device`` is one device, or ``auto`` to spread the layers over all GPUs and then main memory, or
    accelerate's mapping of modules to devices. Raises CheckpointError or ModelError if the model cannot be
    loaded exactly as it was saved.
    """
    tokenizer = model_loading.load_tokenizer(folder)
    model = model_loading.load_model(
        folder, tokenizer, dtype=dtype, attention=attention, device_map=None if device == "cpu" else device
    )
    return model.eval(), tokenizer


def context_window(model: Any) -> int:
    """The largest number of tokens of a sequence. In composite models it is that of the text part."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31


def attention_kinds(config: Any) -> set[str]:
    """The kinds of attention of a model's layers, for example ``full_attention`` and ``sliding_attention``."""
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return set(layer_types)
    return {"full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"}


def seconds_since(start: float, result: Tensor) -> float:
    """The seconds from ``start`` (``time.perf_counter``) until ``result`` is computed on its device."""
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
    return time.perf_counter() - start
