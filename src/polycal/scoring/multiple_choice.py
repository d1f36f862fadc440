"""The stage ``score``: log-likelihoods of all candidates of a benchmark, in one score record per language."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from polycal.artifacts import checkpoints, records
from polycal.artifacts.candidate_forms import P_TRUE
from polycal.artifacts.manifests import Stamp
from polycal.data import float32_library, model_loading
from polycal.scoring import asked_questions, candidate_check, models, prompts, question_prompts
from polycal.scoring.asked_questions import AskedQuestions
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

    ``model`` is a model folder or its manifest. ``cells[i]`` contains the settings for ``questions[i]``.
    Their record is ``out[i]``, and ``done(i)`` is called after it is written. Dtype and attention are those
    of the first cell. Few-shot examples come from ``examples``, by default from ``questions[i]``.
    ``token_budget`` is the number of padded tokens per batch. None chooses it by the device.

    All prompts are built before the model is loaded. Then ``candidate_check`` compares a few prompts with the
    model's own forward pass and chooses the path through the model. The records contain its result as
    ``self_check``. With the setting ``pmi`` records of letters and texts also contain
    ``option_logprob_unconditional``, and those of P(True) are corrected (``true_or_false.p_true``). Raises
    CheckpointError, ModelError, RecordError, PromptError, ScoringError or SelfCheckError.
    """
    checkpoint, settings = checkpoints.read(model), cells[0]["settings"]
    asked_of_files = [
        asked_questions.ask(cell, path, examples) for cell, path in zip(cells, questions, strict=True)
    ]
    prompts_of_files = [asked.prompts for asked in asked_of_files]
    device = models.choose_device(checkpoint.folder, settings["dtype"])
    network, tokenizer = models.load(checkpoint.folder, settings["dtype"], settings["attention"], device)
    texts = map(_texts, prompts_of_files)
    model_loading.check_texts(network, tokenizer, dict(zip(map(str, questions), texts, strict=True)))
    check = candidate_check.check(network, tokenizer, prompts_of_files, token_budget)
    for index, (cell, asked) in enumerate(zip(cells, asked_of_files, strict=True)):
        name = str(cell.get("language", questions[index].stem))
        scores = score_candidates(
            network, tokenizer, asked.prompts, token_budget, name, check.path, asked.follow_up
        )
        score_rows, schema = _score_rows(asked, scores), pa.schema([*records.SCORE, *asked.columns])
        facts = {
            "cell": dict(cell),
            "device": device,
            "float32_library": float32_library.used(),
            "prompts": prompts.VERSION,
            "checkpoint": checkpoint.content,
            "questions": len(asked.rows),
            "prompts_cut": scores.prompts_cut,
            "equal_candidates": scores.equal_candidates,
            "unknown_candidates": scores.unknown_candidates,
            "self_check": check.facts(),
            **scores.timing,
        }
        if cell["settings"].get("pmi") and cell["settings"]["candidates"] not in P_TRUE:
            context = prompts.neutral_context(*question_prompts.wording(cell))
            column, facts["unconditional"] = _unconditional(
                network, tokenizer, asked.prompts, context, token_budget, check.path
            )
            for row, values in zip(score_rows, column, strict=True):
                row[records.UNCONDITIONAL] = values
            schema = schema.append(pa.field(records.UNCONDITIONAL, records.OPTIONAL[records.UNCONDITIONAL]))
        records.write(out[index], score_rows, schema, {**stamps[index](), **facts})
        done(index)


def _texts(file_prompts: Sequence[Prompt]) -> Iterator[str]:
    """All texts that the model reads: each prompt with each of its candidates."""
    return (prompt.prefix + text for prompt in file_prompts for text in prompt.candidates)


def _unconditional(
    model: Any,
    tokenizer: Any,
    file_prompts: Sequence[Prompt],
    context: str,
    token_budget: int | None,
    path: str,
) -> tuple[list[list[float]], dict[str, Any]]:
    """Log-likelihoods in nats of each prompt's candidates after ``context`` instead of the prompt.

    Each distinct candidate is scored once. The second result contains the number of distinct candidates, of
    tokens and of seconds.
    """
    distinct = sorted({text for prompt in file_prompts for text in prompt.candidates})
    context_prompts = [Prompt((), context, (text,)) for text in distinct]
    scores = score_candidates(model, tokenizer, context_prompts, token_budget, path=path)
    logprob = {text: value for text, (value,) in zip(distinct, scores.logprob, strict=True)}
    facts = {"candidates": len(distinct), **{key: scores.timing[key] for key in ("tokens", "seconds")}}
    return [[logprob[text] for text in prompt.candidates] for prompt in file_prompts], facts


def _score_rows(asked: AskedQuestions, scores: CandidateScores) -> list[dict[str, Any]]:
    """The rows of a score record, in the order of the questions."""
    return [
        {
            "question_id": row["question_id"],
            "group": row["group"],
            "gold": row["gold"],
            "prompt_sha256": hashlib.sha256(prompt.prefix.encode()).hexdigest(),
            **answer,
        }
        for row, prompt, answer in zip(asked.rows, asked.first, asked.answers(scores), strict=True)
    ]
