"""The stage ``embed``: one vector per prompt, from the model's last layer, in an Embedding record.

The last layer is what the output head reads, after the final norm. Pooling ``last`` takes the vector of the
prompt's last token, which predicts the answer; ``mean`` averages over the prompt's tokens.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from polycal.artifacts import checkpoints, records
from polycal.artifacts.manifests import Stamp
from polycal.data import model_loading
from polycal.data.token_ids import Encoder
from polycal.errors import LanguageError
from polycal.progress import ProgressLine
from polycal.scoring import models, plain_forward, prompts, question_prompts, self_check
from polycal.scoring.batching import batches
from polycal.scoring.plain_forward import FAST, PLAIN, SINGLE
from polycal.scoring.self_check import SelfCheck

TOKEN_BUDGET = 8192
"""Padded tokens per batch."""

Cell = Mapping[str, Any]


class EmbeddingError(LanguageError):
    """A prompt that cannot be embedded; the message names the file and the question."""


def embed(
    cells: Sequence[Cell],
    *,
    model: Path,
    questions: Sequence[Path],
    out: Sequence[Path],
    stamps: Sequence[Stamp],
    done: Callable[[int], None] = lambda index: None,
) -> None:
    """Embed the prompts of each file of questions with one model, which is loaded once.

    ``model`` is a model folder or its manifest. ``cells[i]["settings"]`` belongs to ``questions[i]`` and
    ``out[i]``: pooling (last or mean), questions (how many from the first on, None for all), the settings of
    the prompt (candidates, num_fewshot, prompt_language, chat_template), dtype and attention. ``done(i)`` is
    called after ``out[i]`` is written. Before that, ``check`` compares a few prompts with the model's own
    forward pass; the records hold its outcome as ``self_check``. Raises RecordError, PromptError,
    CheckpointError, ModelError, SelfCheckError, or EmbeddingError for a prompt longer than the model's window.
    """
    prompted = []
    for cell, path in zip(cells, questions, strict=True):
        rows, asked = question_prompts.build_prompts(cell, path, first=cell["settings"]["questions"])
        prompted.append(([row["question_id"] for row in rows], [prompt.prefix for prompt in asked]))
    settings = cells[0]["settings"]
    checkpoint = checkpoints.read(model)
    device = models.choose_device(checkpoint.folder, settings["dtype"])
    network, tokenizer = models.load(checkpoint.folder, settings["dtype"], settings["attention"], device)
    window = models.context_window(network)
    by_file = {str(path): texts for path, (_, texts) in zip(questions, prompted, strict=True)}
    model_loading.check_texts(network, tokenizer, by_file)
    checked = check(network, tokenizer, [text for _, texts in prompted for text in texts], window)
    encode = Encoder(tokenizer)
    for index, (cell, (ids, texts)) in enumerate(zip(cells, prompted, strict=True)):
        start = time.perf_counter()
        tokens = encode(texts)
        _check_window(questions[index], ids, tokens, window)
        name = f"{cell.get('language', questions[index].stem)}, embeddings"
        progress = ProgressLine(name, sum(map(len, tokens)))
        vectors = prompt_vectors(network, tokens, settings["pooling"], progress=progress, path=checked.path)
        columns = [pa.array(ids), pa.array(list(vectors), pa.list_(pa.float32()))]
        facts = {
            "cell": dict(cell),
            "checkpoint": checkpoint.content,
            "prompts": prompts.VERSION,
            "width": vectors.shape[1],
            "device": device,
            "self_check": checked.facts(),
            "seconds": round(time.perf_counter() - start, 3),
        }
        table = pa.table(columns, schema=records.EMBEDDING)
        records.write(out[index], table, records.EMBEDDING, {**stamps[index](), **facts})
        done(index)


def _check_window(path: Path, ids: Sequence[str], tokens: Sequence[Sequence[int]], window: int) -> None:
    for question, row in zip(ids, tokens, strict=True):
        if len(row) > window:
            raise EmbeddingError(
                f"{path}: the prompt of question {question!r} has {len(row)} tokens, but the model's window"
                f" holds {window}; leave it out or lower num_fewshot."
            )


@torch.inference_mode()
def prompt_vectors(
    model: Any,
    tokens: Sequence[Sequence[int]],
    pooling: str,
    token_budget: int = TOKEN_BUDGET,
    progress: Callable[[int], None] = lambda amount: None,
    path: str = FAST,
) -> np.ndarray:
    """One vector for each of N rows of tokens, float32 [N, width], in the order given.

    ``pooling`` is ``last`` or ``mean``. A batch has at most ``token_budget`` padded tokens. ``progress`` is
    called with the number of tokens of each batch. ``path`` is the way through the model.
    """
    vectors: dict[int, np.ndarray] = {}
    budget = plain_forward.padded_tokens(path, token_budget, model)
    for rows in batches([len(row) for row in tokens], budget):
        length = torch.tensor([len(tokens[row]) for row in rows], device=model.device)
        hidden = _last_hidden(model, [tokens[row] for row in rows], path).to(model.device).float()
        if pooling == "last":
            pooled = hidden[torch.arange(len(rows), device=model.device), length - 1]
        else:
            inside = torch.arange(hidden.shape[1], device=model.device) < length[:, None]
            pooled = (hidden * inside[..., None]).sum(1) / length[:, None]
        vectors |= dict(zip(rows, pooled.cpu().numpy(), strict=True))
        progress(int(length.sum()))
    return np.stack([vectors[number] for number in range(len(tokens))])


def _last_hidden(model: Any, rows: Sequence[Sequence[int]], path: str) -> torch.Tensor:
    """What the output head reads, [rows, longest, width]."""
    if path != FAST:
        return plain_forward.head_inputs(model, rows)
    # padding is on the right, where causal attention of the other tokens does not see it
    ids = plain_forward.padded(rows).to(model.device)
    return model.model(input_ids=ids, use_cache=False).last_hidden_state


def check(model: Any, tokenizer: Any, texts: Sequence[str], window: int) -> SelfCheck:
    """Which way through the model gives the vectors that its own head reads, for some of the given prompts.

    Compared are the vectors of the shortest, the longest and a third prompt, of their last tokens and as
    means, relative to the largest number of each. Prompts beyond ``window`` are left out.
    """
    chosen = self_check.pick([len(text.encode()) for text in texts], [""] * len(texts)) if texts else []
    rows = [row for row in Encoder(tokenizer)([texts[number] for number in chosen]) if len(row) <= window]
    if not rows:
        return self_check.NOTHING
    scale: list[float] = []

    def values(path: str, rows: Sequence[Sequence[int]] = rows) -> np.ndarray:
        budget = len(rows) * max(map(len, rows))
        both = [prompt_vectors(model, rows, pooling, budget, path=path) for pooling in ("last", "mean")]
        vectors = np.concatenate(both).astype(np.float64)
        if not scale:
            scale.extend(np.abs(vectors).max(axis=1))
        return (vectors / np.array(scale)[:, None]).ravel()

    paths = {FAST: lambda: [values(FAST)], PLAIN: lambda: [values(PLAIN)]}
    return self_check.choose_path(
        model, lambda: values(SINGLE), lambda: values(PLAIN), paths, max(rows, key=len), len(rows)
    )
