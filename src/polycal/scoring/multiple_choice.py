"""The stage ``score``: log-likelihoods of all candidates of a benchmark, one Score record per language."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from polycal.artifacts import checkpoints, records
from polycal.artifacts.manifests import Stamp
from polycal.data import model_loading
from polycal.scoring import candidate_check, models, prompts, question_prompts
from polycal.scoring.candidate_scores import CandidateScores, score_candidates
from polycal.scoring.prompts import Prompt

Cell = Mapping[str, Any]


def score(
    cells: Sequence[Cell],
    *,
    model: Path,
    questions: Sequence[Path],
    out: Sequence[Path],
    stamps: Sequence[Stamp],
    done: Callable[[int], None] = lambda index: None,
    examples: Path | None = None,
    token_budget: int | None = None,
) -> None:
    """Score the test questions of each file with one model, which is loaded once.

    ``model`` is a model folder or its manifest. ``cells[i]`` holds the settings for ``questions[i]``, whose
    record is ``out[i]``; ``done(i)`` is called after it is written. Dtype and attention are those of the
    first cell. Few-shot examples come from ``examples``, by default from the file of questions itself.
    ``token_budget`` is the number of padded tokens per batch; None chooses one.

    All prompts are built before the model is loaded. Before anything is scored, ``candidate_check`` compares
    a few prompts with the model's own forward pass and chooses the way through the model; the records hold
    its outcome as ``self_check``. With the setting ``pmi`` a record also holds ``option_logprob_unconditional``.
    Raises CheckpointError, ModelError, RecordError, PromptError, ScoringError or SelfCheckError.
    """
    checkpoint = checkpoints.read(model)
    prompted = [
        question_prompts.build_prompts(cell, path, examples)
        for cell, path in zip(cells, questions, strict=True)
    ]
    settings = cells[0]["settings"]
    device = models.choose_device(checkpoint.folder, settings["dtype"])
    network, tokenizer = models.load(checkpoint.folder, settings["dtype"], settings["attention"], device)
    texts = {str(path): _texts(asked) for path, (_, asked) in zip(questions, prompted, strict=True)}
    model_loading.check_texts(network, tokenizer, texts)
    check = candidate_check.check(network, tokenizer, [asked for _, asked in prompted], token_budget)
    for index, (cell, (rows, asked)) in enumerate(zip(cells, prompted, strict=True)):
        name = str(cell.get("language", questions[index].stem))
        scores = score_candidates(network, tokenizer, asked, token_budget, name, check.path)
        score_rows, schema = _score_rows(rows, asked, scores), records.SCORE
        facts = {
            "cell": dict(cell),
            "device": device,
            "prompts": prompts.VERSION,
            "checkpoint": checkpoint.content,
            "questions": len(rows),
            "prompts_cut": scores.prompts_cut,
            "equal_candidates": scores.equal_candidates,
            "unknown_candidates": scores.unknown_candidates,
            "self_check": check.facts(),
            **scores.timing,
        }
        if cell["settings"].get("pmi"):
            context = prompts.neutral_context(*question_prompts.wording(cell))
            column, facts["unconditional"] = _unconditional(
                network, tokenizer, asked, context, token_budget, check.path
            )
            for row, values in zip(score_rows, column, strict=True):
                row[records.UNCONDITIONAL] = values
            schema = schema.append(pa.field(records.UNCONDITIONAL, records.OPTIONAL[records.UNCONDITIONAL]))
        records.write(out[index], score_rows, schema, {**stamps[index](), **facts})
        done(index)


def _texts(asked: Sequence[Prompt]) -> Iterator[str]:
    """All that the model reads: each candidate behind its prompt."""
    return (prompt.prefix + text for prompt in asked for text in prompt.candidates)


def _unconditional(
    model: Any, tokenizer: Any, asked: Sequence[Prompt], context: str, token_budget: int | None, path: str
) -> tuple[list[list[float]], dict[str, Any]]:
    """Log-likelihoods of each prompt's candidates after ``context`` instead of the prompt, and facts about
    the run.

    Each distinct candidate is scored once.
    """
    distinct = sorted({text for prompt in asked for text in prompt.candidates})
    lone = [Prompt((), context, (text,)) for text in distinct]
    scores = score_candidates(model, tokenizer, lone, token_budget, path=path)
    logprob = {text: value for text, (value,) in zip(distinct, scores.logprob, strict=True)}
    facts = {"candidates": len(distinct), **{key: scores.timing[key] for key in ("tokens", "seconds")}}
    return [[logprob[text] for text in prompt.candidates] for prompt in asked], facts


def _score_rows(
    rows: Sequence[Mapping[str, Any]], asked: Sequence[Prompt], scores: CandidateScores
) -> list[dict[str, Any]]:
    """The rows of a Score record, in the order of the questions."""
    return [
        {
            "question_id": row["question_id"],
            "group": row["group"],
            "gold": row["gold"],
            "option_logprob": scores.logprob[number],
            "option_tokens": scores.tokens[number],
            # without the space that separates a candidate from its prefix
            "option_bytes": [len(text.strip().encode()) for text in prompt.candidates],
            "prompt_sha256": hashlib.sha256(prompt.prefix.encode()).hexdigest(),
        }
        for number, (row, prompt) in enumerate(zip(rows, asked, strict=True))
    ]
