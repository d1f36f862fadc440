"""Candidate log-likelihoods of one model: what a Score record holds.

A question's prompt is processed once and all its candidates behind it; the examples of a group are processed
once for all of its questions. Batches are sorted by length under a token budget, and the output head runs
only where a candidate's token is predicted. A result depends on its batch only by rounding.
"""

import hashlib
import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from polycal.artifacts import checkpoints, records
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.scoring import log_likelihoods, prompts, token_trees
from polycal.scoring.token_trees import Candidate

# Prompts whose candidates are tokenized together.
CHUNK = 500

Cell = Mapping[str, Any]


class ScoringError(PolycalError):
    """A candidate that cannot be scored; the message names the question."""


def place(folder: Path, dtype: str) -> str:
    """Where a model is loaded: ``cpu``, ``cuda``, or ``auto`` where its weights are too large for one GPU."""
    if not torch.cuda.is_available():
        return "cpu"
    numbers = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            names = weights.keys()
            numbers += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    # a fifth is left to activations and logits
    room = 0.8 * torch.cuda.mem_get_info()[0]
    return "cuda" if numbers * getattr(torch, dtype).itemsize < room else "auto"


def load(folder: Path, dtype: str, attention: str, device: str | Mapping[str, str | int]) -> tuple[Any, Any]:
    """Model and tokenizer of a local folder, without remote code and without a network.

    ``device`` is one device, ``auto`` to spread the layers over all GPUs and what remains over main memory, or a
    mapping of modules to devices as accelerate takes it.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        # on the CPU the file's own pages are the weights: nothing is copied
        device_map=None if device == "cpu" else device,
    )
    return model.eval(), tokenizer


def tokenize(tokenizer: Any, prefix: str, candidates: Sequence[str]) -> tuple[list[list[int]], int]:
    """Tokens of the whole text of each candidate as the model would have seen it, and where candidates begin.

    Where a tokenizer merges across the boundary, candidates begin with the merged token: the same place for
    all candidates of a prompt, so that what belongs to the prompt weighs on all of them alike.
    """
    before, *whole = tokenizer([prefix, *(prefix + text for text in candidates)])["input_ids"]
    return whole, min(token_trees.common(before, tokens) for tokens in whole)


def candidates_of(
    tokenizer: Any, asked: Sequence[prompts.Prompt], window: int, first: int = 0
) -> tuple[list[Candidate], list[str], int]:
    """All candidates of the prompts, numbered from ``first``; each prompt's kept examples; how many were cut.

    Whole examples are dropped from the left until a prompt fits the model's window; a question that does not
    fit alone is an error, as is a candidate without tokens.
    """
    found: list[Candidate] = []
    kept: list[str] = []
    cut = 0
    for number, one in enumerate(asked, start=first):
        examples = list(one.examples)
        while True:
            whole, start = tokenize(tokenizer, one.opening + "".join(examples) + one.question, one.candidates)
            longest = max(map(len, whole))
            if longest <= window:
                break
            if not examples:
                raise ScoringError(
                    f"question {number}: {longest} tokens, but the model's window holds {window}; leave it out"
                )
            examples.pop(0)
        cut += len(examples) < len(one.examples)
        kept.append("".join(examples))
        for option, tokens in enumerate(whole):
            if start == 0 or start >= len(tokens):
                raise ScoringError(
                    f"question {number}, option {option}: nothing to score between prefix and end; both need a token"
                )
            found.append(Candidate(number, option, tokens, start))
    return found, kept, cut


@dataclass(frozen=True)
class Answers:
    """Per prompt, the candidates' summed natural log-likelihoods and numbers of tokens; and how it went."""

    logprob: list[list[float]]
    tokens: list[list[int]]
    measured: dict[str, Any]


def answer(
    model: Any,
    tokenizer: Any,
    asked: Sequence[prompts.Prompt],
    budget: int | None = None,
    name: str = "",
) -> Answers:
    """Score every candidate of every prompt. ``budget`` is in padded tokens a batch; None finds one.

    Raises ScoringError.
    """
    begun, began = time.perf_counter(), time.process_time()
    window = getattr(model.config, "max_position_embeddings", 2**31)
    branching = log_likelihoods.branching(model)
    grown: list[tuple[str, token_trees.Tree]] = []
    tokens: list[list[int]] = []
    cut = 0
    for first in range(0, len(asked), CHUNK):
        found, kept, some = candidates_of(tokenizer, asked[first : first + CHUNK], window, first)
        cut += some
        of_prompt: dict[int, list[Candidate]] = {}
        for one in found:
            of_prompt.setdefault(one.question, []).append(one)
        for (_, mine), examples in zip(of_prompt.items(), kept, strict=True):
            tokens.append([len(c.tokens) - c.start for c in mine])
            trees = [token_trees.grow(mine)] if branching else token_trees.chains(mine)
            # without trees nothing is shared: each chain is a group of its own
            grown += [(examples, tree) for tree in trees]
    work = (
        list(token_trees.shared(grown)) if branching else [(token_trees.NOTHING, [tree for _, tree in grown])]
    )
    progress = _Progress(name, sum(len(lead) + sum(map(len, trees)) for lead, trees in work))
    values: dict[tuple[int, int], float] = {}
    busy, budget = 0.0, budget or _budget(model, any(len(lead) for lead, _ in work))
    for lead, trees in work:
        some_values, seconds, budget = run(model, lead, trees, budget, progress)
        values |= some_values
        busy += seconds
    elapsed = time.perf_counter() - begun
    used = time.process_time() - began
    measured = {
        "prompts_cut": cut,
        "equal_candidates": sum(len(set(p.candidates)) < len(p.candidates) for p in asked),
        "tokens": progress.total,
        "token_budget": budget,
        "seconds": round(elapsed, 3),
        "cpu_seconds": round(used, 3),
        "questions_per_second": round(len(asked) / elapsed, 3),
        "tokens_per_second": round(progress.total / elapsed, 1),
        # the model on what had to be processed (layers at each token, head where one is predicted) in all the time
        "forward_fraction": round(busy / elapsed, 4),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        measured["peak_device_memory_bytes"] = sum(map(torch.cuda.max_memory_allocated, devices))
    logprob = [[values[number, k] for k in range(len(row))] for number, row in enumerate(tokens)]
    return Answers(logprob, tokens, measured)


def _budget(model: Any, shared: bool) -> int:
    """Padded tokens a batch: on a CPU what stays near its caches; on a GPU, so far as memory goes.

    With a ``shared`` beginning twice as many on a CPU, for which its keys and values are then read half as often.
    """
    if model.device.type != "cuda":
        return 1024 if shared else 512
    config = model.config
    # a token's activations in one layer (attention, gated feed-forward), with as much again to spare
    width = 8 * config.hidden_size + 3 * config.intermediate_size
    free = torch.cuda.mem_get_info(model.device)[0] - 4 * 4 * log_likelihoods.LOGITS
    fits = max(free // (2 * width * model.dtype.itemsize), 1)
    return int(min(2**16, 2 ** (int(fits).bit_length() - 1)))


def run(
    model: Any, lead: Any, trees: Sequence[token_trees.Tree], budget: int, said: Callable[[int], None]
) -> tuple[dict[tuple[int, int], float], float, int]:
    """Log-likelihood by (question, option) of rows behind ``lead``; seconds in the model; the budget left.

    The budget halves whenever memory runs out; one row that does not fit alone is an error.
    """
    result: dict[tuple[int, int], float] = {}
    busy, left = 0.0, list(trees)
    begun = time.perf_counter()
    beginning = log_likelihoods.Beginning(model, lead) if len(lead) else None
    busy += time.perf_counter() - begun
    said(len(lead))
    while left:
        try:
            for chosen in token_trees.batches([len(tree) for tree in left], budget):
                batch = [left[row] for row in chosen]
                values, seconds = log_likelihoods.log_likelihoods(model, batch, beginning)
                result |= values
                busy += seconds
                said(sum(map(len, batch)))
        except RuntimeError as error:
            if not _out_of_memory(error) or budget <= max(map(len, left)):
                raise
            budget //= 2
            torch.cuda.empty_cache()
        left = [tree for tree in left if (tree.reads[0].question, tree.reads[0].option) not in result]
    return result, busy, budget


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def ask(
    cell: Cell, questions: Path, examples: Path | None = None, first: int | None = None
) -> tuple[list[dict[str, Any]], list[prompts.Prompt]]:
    """The first test questions of a file (None: all) and their prompts, asked as the cell's settings say.

    Few-shot examples come from the file's own examples, or from ``examples``. Raises RecordError or PromptError.
    """
    settings = cell["settings"]
    labels = _labels(cell)
    rows = records.read_questions(questions, "test")[:first]
    pool = records.read_questions(examples or questions, "examples") if settings["num_fewshot"] else []
    given = {g: prompts.examples_of(pool, g, settings["num_fewshot"]) for g in sorted({r["group"] for r in rows})}
    how = (settings["candidates"], labels, settings.get("chat_template"))
    return rows, [prompts.prompt(row, given[row["group"]], *how) for row in rows]


def _labels(cell: Cell) -> prompts.Labels:
    return prompts.labels(cell["settings"].get("prompt_language", "english"), str(cell.get("language")))


def score(
    cells: Sequence[Cell],
    *,
    checkpoint: checkpoints.Checkpoint,
    questions: Sequence[Path],
    out: Sequence[Path],
    stamps: Sequence[Stamp],
    examples: Path | None = None,
    device: str | None = None,
    token_budget: int | None = None,
    done: Callable[[int], None] = lambda number: None,
) -> None:
    """Score the test questions of each file with one model, loaded once; ``done(i)`` follows each record.

    ``cells[i]`` names how ``questions[i]`` is asked and goes with ``notes[i]`` into the metadata of ``out[i]``.
    Questions are read and checked, as ``ask`` does it, before the model is loaded. With the setting ``pmi`` a record
    also holds ``option_logprob_unconditional``. Raises RecordError, PromptError or ScoringError.
    """
    asked = [ask(cell, path, examples) for cell, path in zip(cells, questions, strict=True)]
    settings = cells[0]["settings"]
    where = device or place(checkpoint.folder, settings["dtype"])
    language_model, tokenizer = load(checkpoint.folder, settings["dtype"], settings["attention"], where)
    for number, (cell, (rows, prompted)) in enumerate(zip(cells, asked, strict=True)):
        name = str(cell.get("language", questions[number].stem))
        answers = answer(language_model, tokenizer, prompted, token_budget, name)
        measured = {
            "device": where,
            "prompts": prompts.VERSION,
            "checkpoint": checkpoint.content,
            "questions": len(rows),
            **answers.measured,
        }
        made, schema = list(_rows(rows, prompted, answers)), records.SCORE
        if cell["settings"].get("pmi"):
            context = prompts.neutral(_labels(cell), cell["settings"].get("chat_template"))
            found = unconditional(language_model, tokenizer, prompted, context, token_budget)
            for row, one in zip(made, prompted, strict=True):
                row[records.UNCONDITIONAL] = [found.logprob[text] for text in one.candidates]
            schema = schema.append(pa.field(records.UNCONDITIONAL, records.OPTIONAL[records.UNCONDITIONAL]))
            measured["unconditional"] = found.measured
        note = {**stamps[number](), "cell": dict(cell), **measured}
        records.write(out[number], made, schema, note)
        done(number)


@dataclass(frozen=True)
class Unconditional:
    """Summed natural log-likelihood of each distinct candidate behind a neutral context; and how it went."""

    logprob: dict[str, float]
    measured: dict[str, Any]


def unconditional(
    model: Any, tokenizer: Any, asked: Sequence[prompts.Prompt], context: str, budget: int | None = None
) -> Unconditional:
    """Each candidate of the prompts behind ``context``, once however often it stands. Raises ScoringError."""
    distinct = sorted({text for one in asked for text in one.candidates})
    answers = answer(model, tokenizer, [prompts.Prompt((), context, (text,)) for text in distinct], budget)
    found = {text: value for text, (value,) in zip(distinct, answers.logprob, strict=True)}
    said = {key: answers.measured[key] for key in ("tokens", "seconds")}
    return Unconditional(found, {"candidates": len(distinct), **said})


def _rows(
    rows: Sequence[Mapping[str, Any]], asked: Sequence[prompts.Prompt], answers: Answers
) -> Iterator[dict[str, Any]]:
    for number, (row, one) in enumerate(zip(rows, asked, strict=True)):
        yield {
            "question_id": row["question_id"],
            "group": row["group"],
            "gold": row["gold"],
            "option_logprob": answers.logprob[number],
            "option_tokens": answers.tokens[number],
            # the space that parts a candidate from its prefix is not the answer's own
            "option_bytes": [len(text.strip().encode()) for text in one.candidates],
            "prompt_sha256": hashlib.sha256(one.prefix.encode()).hexdigest(),
        }


class _Progress:
    """A line every five seconds: tokens done, rate and time left."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.count = name, total, 0
        self.begun = self.last = time.monotonic()

    def __call__(self, tokens: int) -> None:
        self.count += tokens
        now = time.monotonic()
        if self.name and (now - self.last >= 5 or self.count == self.total):
            self.last = now
            rate = self.count / max(now - self.begun, 1e-9)
            left = (self.total - self.count) / max(rate, 1e-9)
            print(
                f"{self.name}: {self.count}/{self.total} tokens, {rate:.0f}/s, {left:.0f} s left", flush=True
            )
