"""Prompt embeddings of one model: one vector a question, from the last layer, as an artefact to be measured later.

The last layer is what the output head reads, behind the final norm. ``last`` takes the vector of a prompt's last
token, which predicts the answer; ``mean`` averages over the prompt's tokens.
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
from polycal.errors import PolycalError
from polycal.scoring import multiple_choice, prompts, token_trees

BUDGET = 8192
"""Padded tokens a batch."""

Cell = Mapping[str, Any]


class EmbeddingError(PolycalError):
    """A prompt that cannot be embedded; the message names the file and the question."""


def embed(
    cells: Sequence[Cell],
    *,
    model: Path,
    questions: Sequence[Path],
    out: Sequence[Path],
    stamps: Sequence[Stamp],
    done: Callable[[int], None] = lambda number: None,
) -> None:
    """Embed the prompts of each file of questions with one model, loaded once; ``done(i)`` follows each record.

    ``cells[i]["settings"]``: pooling (last, mean), questions (the first so many, None for all), and how the
    protocol asks (candidates, num_fewshot, prompt_language, chat_template), with dtype and attention. Raises RecordError, PromptError,
    CheckpointError, or EmbeddingError for a prompt beyond the model's window.
    """
    asked = []
    for cell, path in zip(cells, questions, strict=True):
        rows, prompted = multiple_choice.ask(cell, path, first=cell["settings"]["questions"])
        asked.append(([row["question_id"] for row in rows], [one.prefix for one in prompted]))
    settings = cells[0]["settings"]
    checkpoint = checkpoints.read(model)
    device = multiple_choice.place(checkpoint.folder, settings["dtype"])
    network, tokenizer = multiple_choice.load(
        checkpoint.folder, settings["dtype"], settings["attention"], device
    )
    window = getattr(network.config, "max_position_embeddings", 2**31)
    for number, (ids, texts) in enumerate(asked):
        begun = time.perf_counter()
        tokens = tokenizer(texts)["input_ids"]
        for name, row in zip(ids, tokens, strict=True):
            if len(row) > window:
                raise EmbeddingError(
                    f"{questions[number]}: the prompt of question {name!r} has {len(row)} tokens, but the model's"
                    f" window holds {window}; leave it out or ask with a smaller num_fewshot."
                )
        vectors = vectors_of(network, tokens, settings["pooling"])
        columns = [pa.array(ids), pa.array(list(vectors), pa.list_(pa.float32()))]
        facts = {
            "cell": dict(cells[number]),
            "checkpoint": checkpoint.content,
            "prompts": prompts.VERSION,
            "width": vectors.shape[1],
            "device": device,
            "seconds": round(time.perf_counter() - begun, 3),
        }
        records.write(
            out[number],
            pa.table(columns, schema=records.EMBEDDING),
            records.EMBEDDING,
            {**stamps[number](), **facts},
        )
        done(number)


@torch.inference_mode()
def vectors_of(model: Any, tokens: Sequence[Sequence[int]], pooling: str, budget: int = BUDGET) -> np.ndarray:
    """One vector a row of tokens, float32 [N, D], in the order given; at most ``budget`` padded tokens at once."""
    found = np.empty((len(tokens), model.config.hidden_size), dtype=np.float32)
    for rows in token_trees.batches([len(row) for row in tokens], budget):
        length = torch.tensor([len(tokens[row]) for row in rows], device=model.device)
        # padded on the right, where nothing before it can see it
        ids = torch.zeros(len(rows), int(length.max()), dtype=torch.long, device=model.device)
        for line, row in enumerate(rows):
            ids[line, : len(tokens[row])] = torch.tensor(tokens[row], device=model.device)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state.float()
        if pooling == "last":
            pooled = hidden[torch.arange(len(rows), device=model.device), length - 1]
        else:
            inside = torch.arange(ids.shape[1], device=model.device) < length[:, None]
            pooled = (hidden * inside[..., None]).sum(1) / length[:, None]
        found[rows] = pooled.cpu().numpy()
    return found
