"""The stage ``score_next_token``: predictions of one model on held-out conversations, in a TokenScore record.

There is one row per target token. Targets are, as in training, the tokens of assistant turns with their
end-of-sequence token. Of each distribution over the vocabulary the record holds what calibration needs: the
log-probability of the actual token and of the most probable token, whether they are the same, the entropy,
and the sum of squared probabilities.
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
from polycal.data.tokenized import tokenize
from polycal.errors import PolycalError
from polycal.progress import ProgressLine
from polycal.scoring import models
from polycal.scoring.batching import batches
from polycal.scoring.output_head import log_prob_chunks

COLUMNS = records.TOKEN_SCORE.names[3:]
"""The columns of a TokenScore record that come from the distribution over the vocabulary."""

TOKEN_BUDGET = 4096
"""Padded tokens per batch."""

Row = tuple[np.ndarray, np.ndarray]
"""Tokens (int) and targets (bool) of one conversation, each [length]."""


class NextTokenError(PolycalError):
    """Conversations in which nothing can be predicted; the message names the file."""


def score_next_token(
    cell: Mapping[str, Any], *, model: Path, instructions: Path, out: Path, stamp: Stamp
) -> None:
    """Write the TokenScore record of one model on the held-out conversations of one file.

    ``model`` is a model folder or its manifest. ``cell["settings"]``: conversations (how many from the first
    on, None for all), max_length in tokens, chat_template, dtype, attention. Raises RecordError, ChatError,
    CheckpointError, or NextTokenError if the file has no held-out conversation or none of them has a target.
    """
    settings, start = cell["settings"], time.perf_counter()
    conversations = records.read_conversations(instructions, "heldout").to_pylist()
    conversations = conversations[: settings["conversations"]]
    if not conversations:
        raise NextTokenError(
            f"{instructions}: holds no conversation of split 'heldout';"
            " give the data set a 'heldout' above 0."
        )
    checkpoint = checkpoints.read(model)
    device = models.choose_device(checkpoint.folder, settings["dtype"])
    network, tokenizer = models.load(checkpoint.folder, settings["dtype"], settings["attention"], device)
    rows, skipped = _tokenize_each(tokenizer, conversations, settings)
    if not rows:
        raise NextTokenError(f"{instructions}: no held-out conversation has a target; left out: {skipped}.")
    progress = ProgressLine(
        f"{checkpoint.name}, next tokens", sum(len(tokens) for tokens, _ in rows.values())
    )
    columns = predictions(network, list(rows.values()), progress=progress)
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
        "seconds": round(time.perf_counter() - start, 3),
    }
    table = pa.table(arrays, schema=records.TOKEN_SCORE)
    records.write(out, table, records.TOKEN_SCORE, {**stamp(), **facts})


def _tokenize_each(
    tokenizer: Any, conversations: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> tuple[dict[int, Row], dict[str, int]]:
    """The conversations with a target, by number, and how many were skipped or cut, by reason."""
    rows: dict[int, Row] = {}
    skipped = Counter[str]()
    for number, conversation in enumerate(conversations):
        # one by one, so that skipping one does not change the numbers of the others
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
) -> dict[str, np.ndarray]:
    """The columns of TokenScore from ``logprob`` on, for the T targets of all rows in order, each [T].

    A batch has at most ``token_budget`` padded tokens. ``progress`` is called with the number of tokens of
    each batch.
    """
    starts = np.cumsum([0, *(int(targets.sum()) for _, targets in rows)])
    columns = {name: np.zeros(starts[-1], np.float32) for name in COLUMNS}
    for chosen in batches([len(tokens) for tokens, _ in rows], token_budget):
        index = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in chosen])
        for part, values in _batch_predictions(model, [rows[row] for row in chosen]):
            for name, value in values.items():
                columns[name][index[part]] = value.float().cpu().numpy()
        progress(sum(len(rows[row][0]) for row in chosen))
    return {**columns, "correct": columns["correct"] > 0}


def _batch_predictions(model: Any, batch: Sequence[Row]) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """The columns for the targets of one batch, in order, a slice of the targets at a time."""
    ids = torch.zeros(len(batch), max(len(tokens) for tokens, _ in batch), dtype=torch.long)
    for number, (tokens, _) in enumerate(batch):
        ids[number, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
    hidden = model.model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
    line = torch.from_numpy(np.repeat(np.arange(len(batch)), [int(targets.sum()) for _, targets in batch]))
    position = torch.from_numpy(np.concatenate([np.flatnonzero(targets) for _, targets in batch]))
    actual = ids[line, position].to(model.device)
    for part, log_p, _ in log_prob_chunks(model, hidden[line, position - 1]):
        p, (top, choice) = log_p.exp(), log_p.max(-1)
        yield (
            part,
            {
                "logprob": log_p.gather(1, actual[part, None])[:, 0],
                "top_logprob": top,
                "correct": choice == actual[part],
                "entropy": -(p * log_p.clamp(min=-1e4)).sum(-1),
                "sum_squared_prob": (p * p).sum(-1),
            },
        )
