"""The stage ``score_next_token``: a model's predictions of held-out conversations, in a next-token record.

A row is one target token. As in training, the targets are the tokens of assistant turns with their
end-of-sequence tokens. The record does not contain the distribution over the vocabulary but what calibration
metrics need: the log-probability of the actual token and of the most probable token, whether they are the
same, the entropy, and the sum of squared probabilities.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from polycal.artifacts import checkpoints, records
from polycal.artifacts.manifests import Stamp
from polycal.data import float32_library, model_loading
from polycal.data.tokenized import tokenize
from polycal.errors import CellError
from polycal.progress import ProgressLine
from polycal.scoring import models, plain_forward, self_check
from polycal.scoring.batching import batches
from polycal.scoring.output_head import log_prob_chunks
from polycal.scoring.plain_forward import FAST, PLAIN, SINGLE
from polycal.scoring.self_check import SelfCheck

COLUMNS = records.TOKEN_SCORE.names[3:]
"""The columns of a next-token record that are computed from the distribution over the vocabulary."""

TOKEN_BUDGET = 4096
"""Largest number of padded tokens in a batch."""

Row = tuple[np.ndarray, np.ndarray]
"""The tokens (int) of one conversation, and which of them are targets (bool), each [length]."""


class NextTokenError(CellError):
    """A file contains no conversation with a target."""


def score_next_token(
    cell: Mapping[str, Any], *, model: Path, instructions: Path, out: Path, stamp: Stamp
) -> None:
    """Write the next-token record of one model and the held-out conversations of one file.

    ``model`` is a model folder or its manifest. ``cell["settings"]`` contains conversations (the number of
    conversations to use, None for all), max_length in tokens, chat_template, dtype and attention. Before
    anything is scored, ``check`` compares a few conversations with the model's own forward pass. The record
    contains its result as ``self_check``. Raises NextTokenError if the file has no held-out conversation or
    none of them has a target. Also raises RecordError, ChatError, CheckpointError, ModelError or
    SelfCheckError.
    """
    settings, start = cell["settings"], time.perf_counter()
    conversations = records.read_conversations(instructions, "heldout").to_pylist()
    conversations = conversations[: settings["conversations"]]
    if not conversations:
        raise NextTokenError(
            f"{instructions}: contains no conversation of split 'heldout';"
            " give the data set a 'heldout' above 0."
        )
    checkpoint = checkpoints.read(model)
    device = models.choose_device(checkpoint.folder, settings["dtype"])
    network, tokenizer = models.load(checkpoint.folder, settings["dtype"], settings["attention"], device)
    rows, skipped = _tokenize_each(tokenizer, conversations, settings)
    if not rows:
        raise NextTokenError(
            f"{instructions}: no held-out conversation has a target; at least one is needed (skipped: {skipped})."
        )
    largest = max(int(tokens.max()) for tokens, _ in rows.values())
    model_loading.check_token_id(network, tokenizer, largest, str(instructions))
    progress = ProgressLine(
        f"{checkpoint.name}, next tokens", sum(len(tokens) for tokens, _ in rows.values())
    )
    check_result = check(network, list(rows.values()))
    columns = predictions(network, list(rows.values()), progress=progress, path=check_result.path)
    numbers = np.repeat(list(rows), [int(targets.sum()) for _, targets in rows.values()])
    position = np.concatenate([np.flatnonzero(targets) for _, targets in rows.values()])
    languages = [conversations[number]["language"] for number in numbers]
    arrays = [pa.array(numbers, pa.int32()), pa.array(languages, pa.string()), pa.array(position, pa.int32())]
    arrays += [pa.array(columns[name], records.TOKEN_SCORE.field(name).type) for name in COLUMNS]
    facts = {
        "cell": dict(cell),
        "checkpoint": checkpoint.content,
        "vocabulary": int(network.get_output_embeddings().weight.shape[0]),
        "conversations": len(rows),
        "skipped": skipped,
        "device": device,
        "float32_library": float32_library.used(),
        "self_check": check_result.facts(),
        "seconds": round(time.perf_counter() - start, 3),
    }
    table = pa.table(arrays, schema=records.TOKEN_SCORE)
    records.write(out, table, records.TOKEN_SCORE, {**stamp(), **facts})


def _tokenize_each(
    tokenizer: Any, conversations: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> tuple[dict[int, Row], dict[str, int]]:
    """The conversations with a target, by number, and how many were skipped or truncated, by reason."""
    rows: dict[int, Row] = {}
    skipped = Counter[str]()
    for number, conversation in enumerate(conversations):
        # Each conversation is tokenized alone, so that a skipped one does not change the numbers of the
        # others.
        tokenized, counts = tokenize(
            tokenizer, [conversation["messages"]], settings["chat_template"], settings["max_length"]
        )
        skipped.update(counts)
        if len(tokenized):
            rows[number] = tokenized.row(0)
    return rows, dict(skipped)


@torch.inference_mode()
def predictions(
    model: Any,
    rows: Sequence[Row],
    token_budget: int = TOKEN_BUDGET,
    progress: Callable[[int], None] = lambda amount: None,
    path: str = FAST,
) -> dict[str, np.ndarray]:
    """The columns COLUMNS of the T targets in all rows, in order, each [T].

    Log-probabilities and entropy are in nats. A batch has at most ``token_budget`` padded tokens.
    ``progress`` is called with the number of tokens of each batch. ``path`` is the path through the model.
    """
    budget = plain_forward.padded_tokens(path, token_budget, model)
    starts = np.cumsum([0, *(int(targets.sum()) for _, targets in rows)])
    columns = {name: np.zeros(starts[-1], np.float32) for name in COLUMNS}
    for batch in batches([len(tokens) for tokens, _ in rows], budget):
        index = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in batch])
        for part, values in _batch_predictions(model, [rows[row] for row in batch], path):
            for name, value in values.items():
                columns[name][index[part]] = value.float().cpu().numpy()
        progress(sum(len(rows[row][0]) for row in batch))
    return {**columns, "correct": columns["correct"] > 0}


def _batch_predictions(
    model: Any, batch: Sequence[Row], path: str
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """The columns for the targets of one batch, in order. Each result is for one slice of the targets."""
    ids = plain_forward.padded([tokens for tokens, _ in batch])
    row = torch.from_numpy(np.repeat(np.arange(len(batch)), [int(targets.sum()) for _, targets in batch]))
    position = torch.from_numpy(np.concatenate([np.flatnonzero(targets) for _, targets in batch]))
    chunks: Iterator[tuple[slice, Tensor]]
    if path == FAST:
        hidden = model.model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
        chunks = ((part, log_p) for part, log_p, _ in log_prob_chunks(model, hidden[row, position - 1]))
    else:
        logits = plain_forward.own_logits(model, [tokens for tokens, _ in batch])
        chunks = plain_forward.log_prob_chunks(logits, row, position - 1)
    for part, log_p in chunks:
        actual = ids[row[part], position[part]].to(log_p.device)
        p, (top, top_token) = log_p.exp(), log_p.max(-1)
        yield (
            part,
            {
                "logprob": log_p.gather(1, actual[:, None])[:, 0],
                "top_logprob": top,
                "correct": top_token == actual,
                "entropy": -(p * log_p.clamp(min=-1e4)).sum(-1),
                "sum_squared_prob": (p * p).sum(-1),
            },
        )


def check(model: Any, rows: Sequence[Row]) -> SelfCheck:
    """Choose the path for predicting the next tokens of ``rows`` (``self_check.choose_path``).

    The shortest, the longest and a third row are compared. The column ``correct`` is not compared, because
    two tokens may be equally probable. Raises SelfCheckError if the model's own forward pass gives no usable
    numbers.
    """
    probes = [rows[number] for number in self_check.pick([len(row) for row, _ in rows], [""] * len(rows))]

    def values(path: str) -> np.ndarray:
        budget = len(probes) * max(len(tokens) for tokens, _ in probes)
        columns = predictions(model, probes, budget, path=path)
        return np.concatenate([columns[name] for name in COLUMNS if name != "correct"]).astype(np.float64)

    paths = {path: lambda path=path: [values(path)] for path in (FAST, PLAIN)}
    causal_row = max((tokens for tokens, _ in probes), key=len)
    return self_check.choose_path(
        model, lambda: values(SINGLE), lambda: values(PLAIN), paths, causal_row, len(probes)
    )
