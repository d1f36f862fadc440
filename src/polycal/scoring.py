"""Candidate log-likelihoods of one model: what a Score record holds.

A sequence is scored once for each candidate, in batches sorted by length under a token budget, with the
output head applied only at positions whose next token is a candidate's. Padding stands on the right and
positions before it never see it, so a result depends on its batch only by rounding.
"""

import hashlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from polycal import checkpoints, prompts, records

Cell = Mapping[str, Any]


class ScoringError(ValueError):
    """A candidate that cannot be scored; the message names the question."""


@dataclass(frozen=True)
class Candidate:
    """One sequence to be run: tokens, where the candidate begins, and whose it is."""

    question: int
    option: int
    tokens: tuple[int, ...]
    start: int


def load(folder: Path, dtype: str, attention: str, device: str) -> tuple[Any, Any]:
    """Model and tokenizer of a local folder, without remote code and without a network."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    model.to(device)  # type: ignore[arg-type]
    return model.eval(), tokenizer


def tokenize(tokenizer: Any, prefix: str, candidate: str) -> tuple[list[int], int]:
    """Tokens of the whole text as the model would have seen it, and where the candidate begins.

    The candidate's tokens are those that the whole text has beyond the prefix's own. Where the tokenizer
    merges across the boundary, prefix and candidate are tokenized apart.
    """
    before = tokenizer(prefix)["input_ids"]
    whole = tokenizer(prefix + candidate)["input_ids"]
    if whole[: len(before)] == before:
        return whole, len(before)
    return before + tokenizer(candidate, add_special_tokens=False)["input_ids"], len(before)


def candidates_of(
    tokenizer: Any, asked: Sequence[prompts.Prompt], window: int
) -> tuple[list[Candidate], int]:
    """All sequences of the prompts, and how many prompts lost examples to fit the model's window.

    Whole examples are dropped from the left; a question that does not fit alone is an error, as is a
    candidate without tokens.
    """
    found: list[Candidate] = []
    cut = 0
    for number, one in enumerate(asked):
        examples = list(one.examples)
        while True:
            prefix = "".join(examples) + one.question
            pairs = [tokenize(tokenizer, prefix, text) for text in one.candidates]
            longest = max(len(tokens) for tokens, _ in pairs)
            if longest <= window:
                break
            if not examples:
                raise ScoringError(
                    f"question {number}: {longest} tokens, but the model's window holds {window}; leave it out"
                )
            examples.pop(0)
        cut += len(examples) < len(one.examples)
        for option, (tokens, start) in enumerate(pairs):
            if start == 0 or start >= len(tokens):
                raise ScoringError(
                    f"question {number}, option {option}: nothing to score between prefix and end; both need a token"
                )
            found.append(Candidate(number, option, tuple(tokens), start))
    return found, cut


def batches(found: Sequence[Candidate], budget: int) -> Iterator[list[Candidate]]:
    """Candidates by falling length, as many a batch as fit ``budget`` padded tokens, at least one."""
    batch: list[Candidate] = []
    for one in sorted(found, key=lambda c: (-len(c.tokens), c.question, c.option)):
        if batch and len(batch[0].tokens) * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@torch.inference_mode()
def log_likelihoods(model: Any, batch: Sequence[Candidate]) -> list[float]:
    """Natural log-likelihood of each candidate, summed over its tokens, [len(batch)].

    The head runs at scored positions only; log-softmax in float32, after the final soft-cap if there is one.
    """
    length = max(len(c.tokens) for c in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(batch):
        ids[row, : len(one.tokens)] = torch.tensor(one.tokens)
        mask[row, : len(one.tokens)] = 1
    where = [(row, place) for row, one in enumerate(batch) for place in range(one.start, len(one.tokens))]
    rows, places = (torch.tensor(values, device=model.device) for values in zip(*where, strict=True))
    ids, mask = ids.to(model.device), mask.to(model.device)
    hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    head, softcap = model.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    scored = hidden[rows, places - 1]
    sums = torch.zeros(len(batch), dtype=torch.float64, device=model.device)
    step = max(1, 2**24 // head.weight.shape[0])
    for first in range(0, len(scored), step):
        part = slice(first, first + step)
        logits = head(scored[part])
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        logp = logits.float().log_softmax(-1).gather(1, ids[rows[part], places[part]][:, None])[:, 0]
        sums.index_add_(0, rows[part], logp.double())
    return sums.tolist()


def run(
    model: Any, found: Sequence[Candidate], budget: int, said: Callable[[int], None]
) -> dict[tuple[int, int], float]:
    """Log-likelihood by (question, option). The budget halves whenever a device runs out of memory."""
    result: dict[tuple[int, int], float] = {}
    left = list(found)
    while left:
        try:
            for batch in batches(left, budget):
                for one, value in zip(batch, log_likelihoods(model, batch), strict=True):
                    result[one.question, one.option] = value
                said(sum(len(c.tokens) for c in batch))
        except torch.cuda.OutOfMemoryError:
            if budget <= max(len(c.tokens) for c in left):
                raise
            budget //= 2
            torch.cuda.empty_cache()
        left = [c for c in left if (c.question, c.option) not in result]
    return result


def score(
    cells: Sequence[Cell],
    *,
    model: Path,
    questions: Sequence[Path],
    out: Sequence[Path],
    notes: Sequence[Mapping[str, Any]],
    examples: Path | None = None,
    device: str | None = None,
    token_budget: int = 4096,
    done: Callable[[int], None] = lambda number: None,
) -> None:
    """Score the test questions of each file with one model, loaded once; ``done(i)`` follows each record.

    ``cells[i]`` names how ``questions[i]`` is asked and goes with ``notes[i]`` into the metadata of ``out[i]``.
    Few-shot examples come from the file's own examples, or from ``examples``. Questions are read and
    checked before the model is loaded. Raises RecordError, PromptError, ScoringError or CheckpointError.
    """
    asked = []
    for cell, path in zip(cells, questions, strict=True):
        settings = cell["settings"]
        rows = records.read_questions(path, "test")
        pool = records.read_questions(examples or path, "examples") if settings["shots"] else []
        given = {
            g: prompts.examples_of(pool, g, settings["shots"]) for g in sorted({r["group"] for r in rows})
        }
        asked.append((rows, [prompts.prompt(r, given[r["group"]], settings["candidates"]) for r in rows]))
    settings = cells[0]["settings"]
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = checkpoints.read(model)
    language_model, tokenizer = load(checkpoint.folder, settings["dtype"], settings["attention"], place)
    window = getattr(language_model.config, "max_position_embeddings", 2**31)
    for number, (rows, prompted) in enumerate(asked):
        found, cut = candidates_of(tokenizer, prompted, window)
        progress = _Progress(str(cells[number].get("language", questions[number].stem)), found)
        values = run(language_model, found, token_budget, progress)
        measured = {
            "device": place,
            "prompts": prompts.VERSION,
            "checkpoint": checkpoint.content,
            "prompts_cut": cut,
            "equal_candidates": sum(len(set(p.candidates)) < len(p.candidates) for p in prompted),
            "tokens": progress.total,
            "questions": len(rows),
            "seconds": round(progress.seconds(), 3),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        table = pa.Table.from_pylist(list(_rows(rows, prompted, found, values)), schema=records.SCORE)
        records.write(
            out[number], table, records.SCORE, {**notes[number], "cell": dict(cells[number]), **measured}
        )
        done(number)


def _rows(
    rows: Sequence[Mapping[str, Any]],
    asked: Sequence[prompts.Prompt],
    found: Sequence[Candidate],
    values: Mapping[tuple[int, int], float],
) -> Iterator[dict[str, Any]]:
    length = {(c.question, c.option): len(c.tokens) - c.start for c in found}
    for number, (row, one) in enumerate(zip(rows, asked, strict=True)):
        options = range(len(one.candidates))
        yield {
            "question_id": row["question_id"],
            "group": row["group"],
            "gold": row["gold"],
            "option_logprob": [values[number, option] for option in options],
            "option_tokens": [length[number, option] for option in options],
            # the space that parts a candidate from its prefix is not the answer's own
            "option_bytes": [len(text.strip().encode()) for text in one.candidates],
            "prompt_sha256": hashlib.sha256(one.prefix.encode()).hexdigest(),
        }


class _Progress:
    """A line every five seconds: tokens done, rate and time left."""

    def __init__(self, name: str, found: Sequence[Candidate]) -> None:
        self.name, self.total, self.count = name, sum(len(c.tokens) for c in found), 0
        self.begun = self.last = time.monotonic()

    def __call__(self, tokens: int) -> None:
        self.count += tokens
        now = time.monotonic()
        if now - self.last >= 5 or self.count == self.total:
            self.last = now
            rate = self.count / max(now - self.begun, 1e-9)
            left = (self.total - self.count) / rate
            print(
                f"{self.name}: {self.count}/{self.total} tokens, {rate:.0f}/s, {left:.0f} s left", flush=True
            )

    def seconds(self) -> float:
        return time.monotonic() - self.begun
