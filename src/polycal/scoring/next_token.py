"""Next-token predictions of one model on held-out conversations: what a TokenScore record holds.

One row a target token, as in training: tokens of assistant turns with the end-of-sequence. Kept of each
distribution over the vocabulary is what calibration needs: log-probability of the token that stands there,
that of the most probable one, whether the two are the same, entropy, and the sum of squared probabilities.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from polycal.artifacts import checkpoints, records
from polycal.artifacts.manifests import Stamp
from polycal.data import chat_templates
from polycal.errors import PolycalError
from polycal.scoring import multiple_choice, token_trees

COLUMNS = records.TOKEN_SCORE.names[3:]
"""Of a record, those that come from the distribution over the vocabulary."""
BUDGET = 4096
"""Padded tokens a batch."""
LOGITS = 2**24
"""Logits held at once, as numbers of the vocabulary."""


class NextTokenError(PolycalError):
    """Conversations on which nothing can be predicted; the message names the file."""


def score(cell: Mapping[str, Any], *, model: Path, instructions: Path, out: Path, stamp: Stamp) -> None:
    """Write the TokenScore record of one model on the held-out conversations of one file.

    ``cell["settings"]``: conversations (the first so many, None for all), max_length in tokens, chat_template,
    dtype, attention. Raises RecordError, ChatError, CheckpointError, or NextTokenError where the file holds out
    nothing or no target is left.
    """
    settings, begun = cell["settings"], time.perf_counter()
    rows = records.read_conversations(instructions, "heldout").to_pylist()[: settings["conversations"]]
    if not rows:
        raise NextTokenError(
            f"{instructions}: holds no conversation of split 'heldout'; give the data set a 'heldout' above 0."
        )
    checkpoint = checkpoints.read(model)
    device = multiple_choice.place(checkpoint.folder, settings["dtype"])
    network, tokenizer = multiple_choice.load(
        checkpoint.folder, settings["dtype"], settings["attention"], device
    )
    found = []
    skipped: dict[str, int] = {}
    kept = []
    for number, row in enumerate(rows):
        # one by one, so that a conversation left out keeps the others' numbers
        one, left_out = chat_templates.tokenize(
            tokenizer, [row["messages"]], settings["chat_template"], settings["max_length"]
        )
        for reason, count in left_out.items():
            skipped[reason] = skipped.get(reason, 0) + count
        if len(one):
            found.append(one.row(0))
            kept.append(number)
    if not found:
        raise NextTokenError(f"{instructions}: no held-out conversation has a target; left out: {skipped}.")
    columns = predictions(network, found)
    which = np.repeat(kept, [int(targets.sum()) for _, targets in found])
    position = np.concatenate([np.flatnonzero(targets) for _, targets in found])
    languages = [rows[number]["language"] for number in which]
    arrays = [pa.array(which, pa.int32()), pa.array(languages, pa.string()), pa.array(position, pa.int32())]
    arrays += [pa.array(columns[name], records.TOKEN_SCORE.field(name).type) for name in COLUMNS]
    facts = {
        "cell": dict(cell),
        "checkpoint": checkpoint.content,
        "vocabulary": int(network.get_output_embeddings().weight.shape[0]),
        "conversations": len(kept),
        "skipped": skipped,
        "device": device,
        "seconds": round(time.perf_counter() - begun, 3),
    }
    records.write(
        out,
        pa.table(arrays, schema=records.TOKEN_SCORE),
        records.TOKEN_SCORE,
        {**stamp(), **facts},
    )


@torch.inference_mode()
def predictions(
    model: Any, rows: Sequence[tuple[np.ndarray, np.ndarray]], budget: int = BUDGET
) -> dict[str, np.ndarray]:
    """Columns of TokenScore from ``logprob`` on, for the targets of all rows in order, each [T].

    ``rows`` are pairs of tokens and targets (bool). The softmax is taken in float32, after the final soft-cap if
    the model has one, for ``LOGITS`` numbers at a time.
    """
    counts = [int(targets.sum()) for _, targets in rows]
    starts = np.concatenate([[0], np.cumsum(counts)])
    found = {name: np.zeros(starts[-1], np.float32) for name in COLUMNS}
    head, softcap = model.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    step = max(1, LOGITS // head.weight.shape[0])
    for chosen in token_trees.batches([len(tokens) for tokens, _ in rows], budget):
        width = max(len(rows[row][0]) for row in chosen)
        ids = torch.zeros(len(chosen), width, dtype=torch.long)
        for line, row in enumerate(chosen):
            ids[line, : len(rows[row][0])] = torch.from_numpy(rows[row][0].astype(np.int64))
        hidden = model.model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
        lines, places = zip(
            *((line, place) for line, row in enumerate(chosen) for place in np.flatnonzero(rows[row][1])),
            strict=True,
        )
        which, place = torch.tensor(lines), torch.tensor(np.array(places))
        at, gold = hidden[which, place - 1], ids[which, place].to(model.device)
        where = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in chosen])
        for first in range(0, len(at), step):
            part = slice(first, first + step)
            logits = head(at[part])
            if softcap is not None:
                logits = torch.tanh(logits / softcap) * softcap
            log_p = logits.float().log_softmax(-1)
            p, (top, choice) = log_p.exp(), log_p.max(-1)
            values = {
                "logprob": log_p.gather(1, gold[part, None])[:, 0],
                "top_logprob": top,
                "correct": choice == gold[part],
                "entropy": -(p * log_p.clamp(min=-1e4)).sum(-1),
                "square": (p * p).sum(-1),
            }
            for name, value in values.items():
                found[name][where[part]] = value.float().cpu().numpy()
    return {**found, "correct": found["correct"] > 0}
