"""Checks of score records that are shown together, before any is measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polycal.analysis import run_comparison, score_arrays, summary
from polycal.analysis.conditions import cell_key
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import records
from polycal.vocabulary import CELL_KEYS, NONE


@dataclass(frozen=True)
class CheckedRecord:
    """A score record that can be measured.

    ``cell`` has CELL_KEYS and settings, ``normalise`` is the normalisation of its log-likelihoods, and
    ``gold`` the index of the right option by question id. Records of one benchmark, protocol and language
    share ``gold``. ``metadata`` is that of the file.
    """

    path: Path
    cell: Mapping[str, Any]
    normalise: str
    gold: Mapping[str, int]
    metadata: Mapping[str, Any]

    @property
    def run(self) -> str:
        """The name of the checkpoint."""
        return run_comparison.run_name(self.cell)

    @property
    def questions_key(self) -> tuple[str, ...]:
        """Benchmark, protocol and language."""
        return tuple(str(self.cell[key]) for key in run_comparison.QUESTIONS_KEYS)


def check(paths: Sequence[Path], normalise: str | None = None) -> list[CheckedRecord]:
    """The records, which can be shown together.

    Raises RecordError or MeasureError, whose message is one sentence, if a record cannot be measured, if two
    have the same cell, if records of one benchmark, protocol and language differ in questions, right options
    or normalisation, and if runs with the same benchmark and protocol have different languages.
    """
    found: dict[tuple[str, ...], CheckedRecord] = {}
    first: dict[tuple[str, ...], CheckedRecord] = {}
    for path in paths:
        record = _checked(path, normalise, first)
        other = found.setdefault(cell_key(record.cell), record)
        if other is not record:
            raise MeasureError(
                f"{other.path} and {path} hold the same cell: {', '.join(cell_key(record.cell))}; must differ."
            )
    _check_languages(found.values())
    return list(found.values())


def _checked(path: Path, normalise: str | None, first: dict[tuple[str, ...], CheckedRecord]) -> CheckedRecord:
    """One record. ``first`` has the first of each benchmark, protocol and language, with which it must agree."""
    metadata = records.metadata(path)
    cell = _cell(path, metadata)
    questions = score_arrays.read(path, cell)
    form = summary.normalisation(questions, normalise)
    # raises MeasureError if the file lacks what the normalisation needs
    questions.log_probabilities(form)
    gold = dict(zip(questions.question_id, questions.gold.tolist(), strict=True))
    record = CheckedRecord(path, cell, form, gold, metadata)
    other = first.setdefault(record.questions_key, record)
    run_comparison.check_same_questions(record, other)
    return replace(record, gold=other.gold)


def _cell(path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The cell of a record, with ``none`` for keys that do not apply.

    A record that ``polycal score`` made without a workflow has no protocol; it is named by its settings.
    """
    cell = metadata.get("cell")
    if not isinstance(cell, Mapping) or not isinstance(cell.get("settings") or {}, Mapping):
        raise MeasureError(
            f"{path}: its metadata holds no cell; must be a record of polycal score or polycal import."
        )
    settings = cell.get("settings") or {}
    protocol = f"{settings.get('candidates', 'letters')}-{settings.get('num_fewshot', 0)}shot"
    return {**dict.fromkeys(CELL_KEYS, NONE), "protocol": protocol, **cell}


def _check_languages(found: Iterable[CheckedRecord]) -> None:
    """Raise MeasureError if runs with the same benchmark and protocol have different languages."""
    languages: dict[tuple[str, str], dict[str, set[str]]] = {}
    for record in found:
        scored = languages.setdefault((record.cell["benchmark"], record.cell["protocol"]), {})
        scored.setdefault(record.run, set()).add(record.cell["language"])
    for scored_with, by_run in languages.items():
        name, most = max(by_run.items(), key=lambda pair: len(pair[1]))
        for run, own in by_run.items():
            if lacking := sorted(most - own) or sorted(own - most):
                having, without = (name, run) if most - own else (run, name)
                raise MeasureError(
                    f"{', '.join(scored_with)}: run {having!r} has records in {', '.join(lacking)} and run {without!r} has"
                    " not, so their means would be over different languages; give records in the same languages."
                )


def check_reference(found: Sequence[CheckedRecord], reference: str) -> None:
    """Raise MeasureError if no other run can be compared with the run ``reference``."""
    runs = sorted({record.run for record in found})
    if reference not in runs:
        raise MeasureError(run_comparison.no_such_run(reference, runs))
    keys = {record.questions_key for record in found if record.run == reference}
    if not any(record.questions_key in keys for record in found if record.run != reference):
        raise MeasureError(run_comparison.nothing_to_compare(reference))
