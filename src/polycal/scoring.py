"""Candidate log-likelihoods of one model: what a Score record holds.

A question's candidates share sequences where one's input begins another's, in batches sorted by length under a
token budget, with the output head applied only at positions whose next token is a candidate's. Padding stands on the right and
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


@dataclass(frozen=True)
class Row:
    """One sequence to be run, and the candidates whose tokens it predicts."""

    tokens: tuple[int, ...]
    candidates: tuple[Candidate, ...]


def shared(found: Sequence[Candidate]) -> list[Row]:
    """As few sequences as predict all candidates: one serves every candidate whose input is a prefix of it.

    A candidate's last token is predicted but never read, so the candidates of one token share their prompt,
    and of several candidates that begin alike the longest serves the others.
    """
    served: dict[tuple[int, ...], list[Candidate]] = {}
    of_question: dict[int, list[tuple[int, ...]]] = {}
    for one in sorted(found, key=lambda c: (c.question, -len(c.tokens), c.option)):
        wanted = one.tokens[:-1]
        longer = of_question.setdefault(one.question, [])
        match = next((tokens for tokens in longer if tokens[: len(wanted)] == wanted), None)
        if match is None:
            longer.append(wanted)
            match = wanted
        served.setdefault(match, []).append(one)
    return [Row(tokens, tuple(candidates)) for tokens, candidates in served.items()]


def batches(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Sequences by falling length, as many a batch as fit ``budget`` padded tokens, at least one."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda r: (-len(r.tokens), r.candidates[0].question, r.candidates[0].option)):
        if batch and len(batch[0].tokens) * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@torch.inference_mode()
def log_likelihoods(model: Any, batch: Sequence[Row]) -> dict[tuple[int, int], float]:
    """Natural log-likelihood of each candidate, summed over its tokens, by (question, option).

    The head runs at scored positions only, once each; log-softmax in float32, after the final soft-cap if
    there is one.
    """
    length = max(len(row.tokens) for row in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for line, row in enumerate(batch):
        ids[line, : len(row.tokens)] = torch.tensor(row.tokens)
        mask[line, : len(row.tokens)] = 1
    candidates = [(line, one) for line, row in enumerate(batch) for one in row.candidates]
    # (line, position that predicts) of every target token, and which candidate it belongs to
    where = [(line, place - 1) for line, one in candidates for place in range(one.start, len(one.tokens))]
    owner = [number for number, (_, one) in enumerate(candidates) for _ in one.tokens[one.start :]]
    targets = [token for _, one in candidates for token in one.tokens[one.start :]]
    read = sorted(set(where))
    index = {pair: number for number, pair in enumerate(read)}
    device = model.device
    lines, places = (torch.tensor(values, device=device) for values in zip(*read, strict=True))
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    hidden = model.model(**inputs, use_cache=False).last_hidden_state[lines, places]
    of_target = torch.tensor([index[pair] for pair in where])
    target, belongs = torch.tensor(targets, device=device), torch.tensor(owner)
    head, softcap = model.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    sums = torch.zeros(len(candidates), dtype=torch.float64)
    step = max(1, 2**24 // head.weight.shape[0])
    for first in range(0, len(read), step):
        logits = head(hidden[first : first + step])
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        logp = logits.float().log_softmax(-1)
        mine = ((of_target >= first) & (of_target < first + step)).nonzero()[:, 0]
        value = logp[(of_target[mine] - first).to(device), target[mine.to(device)]]
        sums.index_add_(0, belongs[mine], value.double().cpu())
    return {
        (one.question, one.option): total for (_, one), total in zip(candidates, sums.tolist(), strict=True)
    }


def run(
    model: Any, found: Sequence[Candidate], budget: int, said: Callable[[int], None]
) -> dict[tuple[int, int], float]:
    """Log-likelihood by (question, option). The budget halves whenever a device runs out of memory."""
    result: dict[tuple[int, int], float] = {}
    left = shared(found)
    while left:
        try:
            for batch in batches(left, budget):
                result |= log_likelihoods(model, batch)
                said(sum(len(row.tokens) for row in batch))
        except torch.cuda.OutOfMemoryError:
            if budget <= max(len(row.tokens) for row in left):
                raise
            budget //= 2
            torch.cuda.empty_cache()
        left = [row for row in left if (row.candidates[0].question, row.candidates[0].option) not in result]
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
        progress = _Progress(str(cells[number].get("language", questions[number].stem)), shared(found))
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

    def __init__(self, name: str, rows: Sequence[Row]) -> None:
        self.name, self.total, self.count = name, sum(len(row.tokens) for row in rows), 0
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
