"""The stage ``cluster``: which generated answers mean the same by an entailment model, one record per language."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, cluster_records, open_records, records
from polycal.artifacts.manifests import Stamp
from polycal.artifacts.records import RecordError
from polycal.data import answer_texts
from polycal.progress import ProgressLine
from polycal.scoring import entailment as entailment_models
from polycal.scoring.entailment import Pair

Cell = Mapping[str, Any]
Entails = Callable[[Sequence[Pair]], list[bool]]
"""Whether the first text of each pair entails the second."""
EMPTY = -1
"""The cluster of empty answers, before clusters are numbered by their first answers."""
QUESTIONS_TOGETHER = 256
"""Number of questions whose answers are compared in the same batches."""


def cluster(
    cells: Sequence[Cell],
    *,
    entailment: Path,
    questions: Sequence[Path],
    generations: Sequence[Path],
    out: Sequence[Path],
    stamps: Sequence[Stamp],
    done: Callable[[int], None] = lambda index: None,
) -> None:
    """Cluster the answers of each record of ``generate`` with one entailment model, which is loaded once.

    ``entailment`` is a model folder or its manifest. ``cells[i]`` has the language of ``generations[i]``, which answer
    ``questions[i]``, and the settings dtype and attention of the model. The record is ``out[i]``, and ``done(i)`` is
    called after it is written. Raises CheckpointError, ModelError or RecordError.
    """
    checkpoint, settings = checkpoints.read(entailment), cells[0]["settings"]
    model = entailment_models.load(checkpoint.folder, settings["dtype"], settings["attention"])
    for index, cell in enumerate(cells):
        start = time.perf_counter()
        compared, cut = model.pairs, model.cut
        answers = open_records.read_generations(generations[index]).to_pylist()
        texts = _questions_of(answers, questions[index], generations[index])
        progress = ProgressLine(cell["language"], len(answers), "questions")
        rows = []
        for first in range(0, len(answers), QUESTIONS_TOGETHER):
            part = slice(first, first + QUESTIONS_TOGETHER)
            rows += cluster_rows(answers[part], texts[part], cell["language"], model.entails)
            progress(len(answers[part]))
        facts = {
            "cell": dict(cell),
            "device": model.model.device.type,
            "checkpoint": checkpoint.content,
            "questions": len(rows),
            "texts": sum(row["texts"] for row in rows),
            "pairs": model.pairs - compared,
            "pairs_cut": model.cut - cut,
            "seconds": round(time.perf_counter() - start, 3),
        }
        records.write(out[index], rows, cluster_records.CLUSTER, {**stamps[index](), **facts})
        done(index)


def _questions_of(answers: Sequence[Mapping[str, Any]], questions: Path, generations: Path) -> list[str]:
    """The text of the question of each answer. Raises RecordError if one is not among the questions."""
    texts = {row["question_id"]: row["question"] for row in open_records.read_questions(questions, "test")}
    for row in answers:
        if row["question_id"] not in texts:
            raise RecordError(
                f"{generations}: answers the question {row['question_id']!r}, which {questions} does not contain; both"
                " must be of the same benchmark."
            )
    return [texts[row["question_id"]] for row in answers]


def cluster_rows(
    answers: Sequence[Mapping[str, Any]], questions: Sequence[str], language: str, entails: Entails
) -> list[dict[str, Any]]:
    """The rows of a record. ``answers`` have question_id, greedy and samples, and ``questions`` are their texts.

    Equal normalised answers are one text, which is spelled as the first of them. Empty answers are one cluster.
    """
    normalised = [
        [answer_texts.normalised(text, language) for text in (row["greedy"], *row["samples"])]
        for row in answers
    ]
    spelled: list[dict[str, str]] = []
    for row, texts in zip(answers, normalised, strict=True):
        own: dict[str, str] = {}
        for text, spelling in zip(texts, (row["greedy"], *row["samples"]), strict=True):
            if text:
                own.setdefault(text, spelling)
        spelled.append(own)
    found = greedy_clusters(questions, [list(own.values()) for own in spelled], entails)
    rows = []
    for row, texts, own, clusters in zip(answers, normalised, spelled, found, strict=True):
        of_text = {"": EMPTY, **dict(zip(own, clusters, strict=True))}
        order = {one: number for number, one in enumerate(dict.fromkeys(of_text[text] for text in texts))}
        greedy, *samples = [order[of_text[text]] for text in texts]
        rows.append(
            {"question_id": row["question_id"], "greedy": greedy, "samples": samples, "texts": len(own)}
        )
    return rows


def greedy_clusters(
    questions: Sequence[str], texts: Sequence[Sequence[str]], entails: Entails
) -> list[list[int]]:
    """The number of the cluster of each of ``texts[i]``, different answers to ``questions[i]``.

    In their order, each text joins the first cluster whose first text it entails and is entailed by, each after its
    question (Kuhn et al. 2023, arXiv 2302.09664). The texts in one place of all questions are compared together.
    """
    clusters: list[list[int]] = [[] for _ in texts]
    heads: list[list[str]] = [[] for _ in texts]
    for place in range(max(map(len, texts), default=0)):
        new = {number: own[place] for number, own in enumerate(texts) if place < len(own)}
        pairs = {
            (number, cluster): (f"{questions[number]} {text}", f"{questions[number]} {head}")
            for number, text in new.items()
            for cluster, head in enumerate(heads[number])
        }
        same = _mutual(pairs, entails)
        for number, text in new.items():
            joined = next((one for one in range(len(heads[number])) if (number, one) in same), None)
            if joined is None:
                heads[number].append(text)
            clusters[number].append(len(heads[number]) - 1 if joined is None else joined)
    return clusters


def _mutual(pairs: Mapping[tuple[int, int], Pair], entails: Entails) -> set[tuple[int, int]]:
    """The keys of the pairs whose texts entail each other. The second way is asked only where the first holds."""
    one_way = [key for key, holds in zip(pairs, entails([*pairs.values()]), strict=True) if holds]
    back = entails([pairs[key][::-1] for key in one_way])
    return {key for key, holds in zip(one_way, back, strict=True) if holds}
