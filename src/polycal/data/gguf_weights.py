"""Convert a model in GGUF to a model folder: safetensors in float32, and the tokenizer.

GGUF is the file format of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Its weights are
usually quantised. transformers reads them with the package ``gguf``, which dequantises them to float32. The result
is the quantised model in another format: the conversion restores nothing of what the quantisation lost.
"""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.data import repositories
from polycal.data.hub import SourceError
from polycal.errors import CellError, TransientError

MAGIC = b"GGUF"
"""The first bytes of a GGUF file."""
FLOAT_BYTES = 4
MEMORY_COPIES = 3
"""How many copies of the weights in float32 are in memory at most: of transformers' reader, of the model, and of the
file that is written."""
LIBRARY_BYTES = 500_000_000
"""Memory of PyTorch and transformers themselves."""
MAX_NAMES = 3
"""How many missing tensors an error lists."""


class GGUFError(SourceError, CellError):
    """A GGUF file cannot be converted, however often it is tried."""


class TooLittleMemoryError(SourceError, TransientError):
    """The machine has too little memory at present."""


def convert(path: Path, folder: Path) -> dict[str, Any]:
    """Convert the GGUF file ``path`` to the model folder ``folder``, and describe the conversion for a manifest.

    The description contains ``file`` and ``sha256`` of the GGUF file, ``weights`` (type in GGUF → number of weights),
    ``bits`` (bits per weight of the file) and ``dtype``, the type in the folder. An existing folder is replaced.
    Raises TooLittleMemoryError or SourceError before the conversion if memory or disk are too small, and GGUFError
    if the file is not GGUF, if transformers cannot read it, or if it lacks weights of the model.
    """
    weights, bits = _weights(path)
    _check_room(path, folder.parent, sum(weights.values()))
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as unfinished:
            _save(path, Path(unfinished) / "model")
            shutil.rmtree(folder, ignore_errors=True)
            (Path(unfinished) / "model").rename(folder)
    except (OSError, RuntimeError) as error:
        if not files.is_disk_full(error):
            raise
        raise SourceError(f"{folder}: the disk is full; free some space and start again.") from error
    described = {"file": path.name, "sha256": files.sha256(path), "dtype": "float32"}
    return {**described, "weights": weights, "bits": bits}


def _weights(path: Path) -> tuple[dict[str, int], float]:
    """The number of weights of each type in a GGUF file, the most frequent first, and the mean bits per weight."""
    from gguf import GGUFReader

    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise GGUFError(
                f"{path.name}: not a GGUF file; the parts must make one GGUF file, in their order."
            )
    try:
        tensors = GGUFReader(path).tensors
    except Exception as error:  # the reader raises what NumPy and its parser raise
        raise GGUFError(
            f"{path.name}: cut off or not a GGUF file ({repositories.first_line(error)}); name all its parts."
        ) from error
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    bits = 8 * sum(int(tensor.n_bytes) for tensor in tensors) / max(sum(counts.values()), 1)
    return dict(counts.most_common()), round(bits, 2)


def _check_room(path: Path, parent: Path, weights: int) -> None:
    """Raise an error if memory or disk are too small for a model with this number of weights."""
    import psutil

    needed, free = MEMORY_COPIES * FLOAT_BYTES * weights + LIBRARY_BYTES, psutil.virtual_memory().available
    if needed > free:
        raise TooLittleMemoryError(
            f"{path.name}: the conversion needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free; use"
            " a machine with more memory or end other programs."
        )
    parent, free = files.free_bytes(parent)
    needed = FLOAT_BYTES * weights
    if needed > free:
        raise SourceError(
            f"{path.name}: the converted model needs {needed / 1e9:.1f} GB, but {parent} has {free / 1e9:.1f} GB free;"
            " free some space."
        )


def _save(path: Path, folder: Path) -> None:
    """Read a GGUF file with transformers, and save model and tokenizer to ``folder``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # tokenizers and gguf raise plain exceptions
        if isinstance(error, MemoryError) or files.is_disk_full(error):
            raise
        raise GGUFError(
            f"{path.name}: transformers cannot read this model: {repositories.first_line(error)}"
        ) from error
    read, report = loaded
    # transformers gives random values to weights that the file lacks.
    for problem in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report[problem])):
            raise GGUFError(
                f"{path.name}: {len(names)} weights of the model are missing or of another shape"
                f" ({', '.join(names[:MAX_NAMES])}); choose a complete file."
            )
    tokenizer.save_pretrained(folder)
    # transformers does not save a model that was read from quantised weights. A new one with the same values it does.
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    with torch.device("meta"):
        fresh = type(read)(type(read.config)(**settings))
    fresh.load_state_dict(read.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.save_pretrained(folder)
