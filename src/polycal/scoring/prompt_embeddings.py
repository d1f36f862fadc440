"""The stage ``embed``: one vector per prompt, in an embedding record.

The vectors are the last hidden states after the final norm, which are the inputs of the output head. Pooling
``last`` uses the vector of the prompt's last token, which predicts the answer. ``mean`` is the mean over the
prompt's tokens.
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
from polycal.data import float32_library, model_loading
from polycal.data.token_ids import Encoder
from polycal.errors import LanguageError
from polycal.progress import ProgressLine
from polycal.scoring import models, plain_forward, prompts, question_prompts, self_check
from polycal.scoring.batching import batches
from polycal.scoring.plain_forward import FAST, PLAIN, SINGLE
from polycal.scoring.self_check import SelfCheck

TOKEN_BUDGET = 8192
"""Largest number of padded tokens in a batch."""

Cell = Mapping[str, Any]


class EmbeddingError(LanguageError):
    """A prompt is longer than the model's window."""


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

    ``model`` is a model folder or its manifest. ``cells[i]["settings"]`` contains the settings for
    ``questions[i]``: pooling (last or mean), questions (the number of questions to use, None for all), those
    of the prompt (candidates, num_fewshot, prompt_language, chat_template), dtype and attention. Dtype and
    attention are those of the first cell. The record is ``out[i]``, and ``done(i)`` is called after it is
    written. Before anything is embedded, ``check`` compares a few prompts with the model's own forward pass.
    The records contain its result as ``self_check``. Raises EmbeddingError if a prompt is longer than the
    model's window. Also raises RecordError, PromptError, CheckpointError, ModelError or SelfCheckError.
    """
    ids_and_texts = []
    for cell, path in zip(cells, questions, strict=True):
        rows, file_prompts = question_prompts.build_prompts(cell, path, first=cell["settings"]["questions"])
        ids_and_texts.append(
            ([row["question_id"] for row in rows], [prompt.prefix for prompt in file_prompts])
        )
    settings = cells[0]["settings"]
    checkpoint = checkpoints.read(model)
    device = models.choose_device(checkpoint.folder, settings["dtype"])
    network, tokenizer = models.load(checkpoint.folder, settings["dtype"], settings["attention"], device)
    window = models.context_window(network)
    texts_of_file = {str(path): texts for path, (_, texts) in zip(questions, ids_and_texts, strict=True)}
    model_loading.check_texts(network, tokenizer, texts_of_file)
    check_result = check(network, tokenizer, [text for _, texts in ids_and_texts for text in texts], window)
    encode = Encoder(tokenizer)
    for index, (cell, (ids, texts)) in enumerate(zip(cells, ids_and_texts, strict=True)):
        start = time.perf_counter()
        tokens = encode(texts)
        _check_window(questions[index], ids, tokens, window)
        name = f"{cell.get('language', questions[index].stem)}, embeddings"
        progress = ProgressLine(name, sum(map(len, tokens)))
        vectors = prompt_vectors(
            network, tokens, settings["pooling"], progress=progress, path=check_result.path
        )
        columns = [pa.array(ids), pa.array(list(vectors), pa.list_(pa.float32()))]
        facts = {
            "cell": dict(cell),
            "checkpoint": checkpoint.content,
            "prompts": prompts.VERSION,
            "width": vectors.shape[1],
            "device": device,
            "float32_library": float32_library.used(),
            "self_check": check_result.facts(),
            "seconds": round(time.perf_counter() - start, 3),
        }
        table = pa.table(columns, schema=records.EMBEDDING)
        records.write(out[index], table, records.EMBEDDING, {**stamps[index](), **facts})
        done(index)


def _check_window(path: Path, ids: Sequence[str], tokens: Sequence[Sequence[int]], window: int) -> None:
    """Raise EmbeddingError if a prompt is longer than the model's window."""
    for question, row in zip(ids, tokens, strict=True):
        if len(row) > window:
            raise EmbeddingError(
                f"{path}: the prompt of question {question!r} has {len(row)} tokens, but the model's window is"
                f" {window} tokens; remove the question or lower num_fewshot."
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
    """One vector for each of N rows of tokens, float32 [N, width], in the order of the rows.

    ``pooling`` is ``last`` or ``mean``. A batch has at most ``token_budget`` padded tokens. ``progress`` is
    called with the number of tokens of each batch. ``path`` is the path through the model.
    """
    vectors: dict[int, np.ndarray] = {}
    budget = plain_forward.padded_tokens(path, token_budget, model)
    for rows in batches([len(row) for row in tokens], budget):
        length = torch.tensor([len(tokens[row]) for row in rows], device=model.device)
        hidden = _last_hidden(model, [tokens[row] for row in rows], path).to(model.device).float()
        if pooling == "last":
            pooled = hidden[torch.arange(len(rows), device=model.device), length - 1]
        else:
            is_token = torch.arange(hidden.shape[1], device=model.device) < length[:, None]
            pooled = (hidden * is_token[..., None]).sum(1) / length[:, None]
        vectors |= dict(zip(rows, pooled.cpu().numpy(), strict=True))
        progress(int(length.sum()))
    return np.stack([vectors[number] for number in range(len(tokens))])


def _last_hidden(model: Any, rows: Sequence[Sequence[int]], path: str) -> torch.Tensor:
    """The inputs of the output head, [rows, longest, width]."""
    if path != FAST:
        return plain_forward.head_inputs(model, rows)
    # The padding is on the right, so causal attention of the tokens does not include it.
    ids = plain_forward.padded(rows).to(model.device)
    return model.model(input_ids=ids, use_cache=False).last_hidden_state


def check(model: Any, tokenizer: Any, texts: Sequence[str], window: int) -> SelfCheck:
    """Choose the path for embedding the prompts ``texts`` (``self_check.choose_path``).

    The vectors of the shortest, the longest and a third prompt are compared, with both poolings. Each is
    divided by its largest absolute value in the reference. Prompts of more than ``window`` tokens are not
    compared. Raises SelfCheckError if the model's own forward pass gives no usable numbers.
    """
    probes = self_check.pick([len(text.encode()) for text in texts], [""] * len(texts)) if texts else []
    rows = [row for row in Encoder(tokenizer)([texts[number] for number in probes]) if len(row) <= window]
    if not rows:
        return self_check.NOTHING
    scale: list[float] = []

    def values(path: str, rows: Sequence[Sequence[int]] = rows) -> np.ndarray:
        budget = len(rows) * max(map(len, rows))
        pooled = [prompt_vectors(model, rows, pooling, budget, path=path) for pooling in ("last", "mean")]
        vectors = np.concatenate(pooled).astype(np.float64)
        # choose_path computes the reference first, which sets the scale.
        if not scale:
            scale.extend(np.abs(vectors).max(axis=1))
        return (vectors / np.array(scale)[:, None]).ravel()

    paths = {FAST: lambda: [values(FAST)], PLAIN: lambda: [values(PLAIN)]}
    return self_check.choose_path(
        model, lambda: values(SINGLE), lambda: values(PLAIN), paths, max(rows, key=len), len(rows)
    )
