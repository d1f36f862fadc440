"""The stage ``generate``: a model's short answers to questions without options, in one record per language."""

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, open_records, records
from polycal.artifacts.manifests import Stamp
from polycal.data import float32_library, model_loading
from polycal.progress import ProgressLine
from polycal.scoring import candidate_check, generation_check, models, open_prompts, prompts, true_or_false
from polycal.scoring.answer_batches import Answer, AnswerBatches, padding
from polycal.scoring.candidate_scores import score_candidates
from polycal.scoring.open_prompts import OpenQuestions
from polycal.scoring.prompts import Prompt
from polycal.scoring.unfinished_answers import UnfinishedAnswers

Cell = Mapping[str, Any]


def generate(
    cells: Sequence[Cell],
    *,
    model: Path,
    questions: Sequence[Path],
    out: Sequence[Path],
    stamps: Sequence[Stamp],
    done: Callable[[int], None] = lambda index: None,
    rows: int | None = None,
) -> None:
    """Generate answers to the test questions of each file with one model, which is loaded once.

    ``model`` is a model folder or its manifest. ``cells[i]`` contains the settings for ``questions[i]``:
    num_fewshot, prompt_language, chat_template, samples, temperature, top_p, max_new_tokens, seed, dtype and
    attention. Their record is ``out[i]``, and ``done(i)`` is called after it is written. ``rows`` is the number of
    answers in a batch; None chooses it by the device.

    All prompts are built before the model is loaded. ``generation_check`` chooses the path through the model. A
    stopped run continues with the first unfinished batch. P(True) of the greedy answers is scored as in the stage
    ``score``. Raises CheckpointError, ModelError, RecordError, PromptError, ScoringError or SelfCheckError.
    """
    checkpoint, settings = checkpoints.read(model), cells[0]["settings"]
    asked_of_files = [open_prompts.read(cell, path) for cell, path in zip(cells, questions, strict=True)]
    prompts_of_files = [[asked.prompt(row) for row in asked.rows] for asked in asked_of_files]
    device = models.choose_device(checkpoint.folder, settings["dtype"])
    network, tokenizer = models.load(checkpoint.folder, settings["dtype"], settings["attention"], device)
    texts = ([prompt.prefix for prompt in of_file] for of_file in prompts_of_files)
    model_loading.check_texts(network, tokenizer, dict(zip(map(str, questions), texts, strict=True)))
    window = models.context_window(network) - settings["max_new_tokens"]
    tokens_of_files = [open_prompts.tokenize(tokenizer, of_file, window) for of_file in prompts_of_files]
    every = [tokens for of_file, _ in tokens_of_files for tokens in of_file]
    check = generation_check.check(network, every, padding(tokenizer))
    batches = AnswerBatches(network, tokenizer, settings, check.path, rows)
    for index, (cell, asked) in enumerate(zip(cells, asked_of_files, strict=True)):
        start, (tokens, cut) = time.perf_counter(), tokens_of_files[index]
        unfinished = UnfinishedAnswers(out[index], stamps[index].fingerprint)
        resumed = len(unfinished.found)
        name = str(cell.get("language", questions[index].stem))
        progress = ProgressLine(name, len(asked.rows), "questions")
        ids = [row["question_id"] for row in asked.rows]
        answers = batches.answers(ids, tokens, unfinished, progress)
        seconds = time.perf_counter() - start
        p_true, p_true_check = _p_true(network, tokenizer, asked, answers)
        facts = {
            "cell": dict(cell),
            "device": device,
            "float32_library": float32_library.used(),
            "prompts": prompts.VERSION,
            "checkpoint": checkpoint.content,
            "questions": len(asked.rows),
            "prompts_cut": cut,
            **_counts(answers),
            "self_check": check.facts(),
            "p_true_self_check": p_true_check,
            "resumed": resumed,
            "seconds": round(seconds, 3),
            "seconds_p_true": round(time.perf_counter() - start - seconds, 3),
        }
        generated = _rows(asked, prompts_of_files[index], answers, p_true)
        records.write(out[index], generated, open_records.GENERATION, {**stamps[index](), **facts})
        unfinished.remove()
        done(index)


def _rows(
    asked: OpenQuestions,
    asked_with: Sequence[Prompt],
    answers: Sequence[Answer],
    p_true: Sequence[Mapping[str, float]],
) -> list[dict[str, Any]]:
    """The rows of a record, in the order of the questions."""
    return [
        {
            **{key: row[key] for key in ("question_id", "group", "answers")},
            **answer,
            **proposed,
            "prompt_sha256": hashlib.sha256(prompt.prefix.encode()).hexdigest(),
        }
        for row, prompt, answer, proposed in zip(asked.rows, asked_with, answers, p_true, strict=True)
    ]


def _p_true(
    model: Any, tokenizer: Any, asked: OpenQuestions, answers: Sequence[Answer]
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """P(True) of each greedy answer with its spread (``true_or_false``), and the result of the self-check."""
    proposals = [
        asked.whether_true(row, answer["greedy"]) for row, answer in zip(asked.rows, answers, strict=True)
    ]
    check = candidate_check.check(model, tokenizer, [proposals])
    scores = score_candidates(model, tokenizer, proposals, path=check.path)
    found = []
    for logprob in scores.logprob:
        [log_p], spread = true_or_false.p_true(logprob)
        found.append({"p_true": min(math.exp(log_p), 1.0), "p_true_spread": spread})
    return found, check.facts()


def _counts(answers: Sequence[Answer]) -> dict[str, int]:
    """Numbers of answers that are empty, cut by the length, or with a nearly equal token; and of all tokens."""
    counts = Counter[str](
        {"empty": 0, "cut": 0, "near_ties": 0, "empty_samples": 0, "cut_samples": 0, "tokens": 0}
    )
    for answer in answers:
        counts["empty"] += not answer["greedy"]
        counts["cut"] += answer["greedy_cut"]
        counts["near_ties"] += answer["near_ties"] > 0
        counts["empty_samples"] += answer["samples"].count("")
        counts["cut_samples"] += sum(answer["sample_cut"])
        counts["tokens"] += answer["greedy_tokens"] + sum(answer["sample_tokens"])
    return dict(counts)
