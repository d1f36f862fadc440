"""The questions of one log: checked as they are read, then the columns of a score record.

Harnesses log the right option as an index, as a letter or text, or as a list, and some as a text in any case.
What the harness itself counted as right (``accuracy``) decides where two readings are possible, and checks the
reading of every question.
"""

import ast
import contextlib
import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from polycal.artifacts import records
from polycal.errors import PolycalError

COLUMNS = pa.schema(
    [
        *records.SCORE,
        (records.UNCONDITIONAL, pa.list_(pa.float32())),
        ("number", pa.int64()),
        ("own_id", pa.string()),
    ]
)
"""A score record, the number that the harness gave to each question, and the id that the data set has for it."""
TOLERANCE = 1e-3
"""How far above zero rounding may lift a log-likelihood, in nats."""
LEAST = -3e38
"""The least number of single precision, about."""
INDEX, OPTION = "an index", "an option"
"""Readings of a target that is both."""
BOOLEANS = {"False": "0", "True": "1"}


class ImportLogError(PolycalError):
    """A log that cannot be imported; the message names file, line and key, and what would be right."""


@dataclass(frozen=True)
class LoggedQuestion:
    """A question as a log has it. ``where`` is file and line; all likelihoods are in nats.

    ``target`` is the right option as logged, ``accuracy`` what the harness counted, None if it is not logged.
    """

    where: str
    number: int
    own_id: str | None
    group: str
    context: str
    options: list[str]
    logprob: list[float]
    target: Any
    accuracy: Any = None
    unconditional: list[float] | None = None
    tokens: list[int] | None = None


def log_likelihoods(values: Sequence[Any], where: str, key: str) -> list[float]:
    """Numbers, or texts of numbers, as log-likelihoods. Raises ImportLogError for one that cannot be it."""
    numbers = []
    for value in values:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not LEAST < number <= TOLERANCE:
            raise ImportLogError(
                f"{where}: {key} has {value!r} as a log-likelihood; it must be a finite number up to 0."
            )
        numbers.append(number)
    return numbers


@dataclass
class LoggedQuestions:
    """Collects the questions of one log.

    ``labels`` are the options if all are single characters in one order, None otherwise. ``rounded`` counts the
    questions of which another option is the most likely one in single precision, which records have. Raises
    ImportLogError for a question that no score record can hold, and for a number that occurs twice.
    """

    labels: list[str] | None = field(default_factory=list)
    rounded: int = 0
    _rows: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS.names})
    _numbers: dict[int, str] = field(default_factory=dict)
    _ambiguous: list[tuple[int, int, int, str]] = field(default_factory=list)
    _readings: set[str] = field(default_factory=lambda: {INDEX, OPTION})

    def add(self, question: LoggedQuestion) -> None:
        """Check a question and keep it."""
        where, options = question.where, [option.strip() for option in question.options]
        self._check(question, options)
        self._keep_labels(options)
        best = _first_largest(question.logprob)
        self.rounded += _first_largest(array("f", question.logprob)) != best
        gold, other = _gold(question.target, options, where)
        right = _counted(question.accuracy, where)
        if other is not None:
            self._exclude_readings(best, gold, other, right, where)
        elif right is not None and right != (best == gold):
            raise ImportLogError(
                f"{where}: the log counts this question as {'right' if right else 'wrong'}, but option {best} is the"
                f" most likely one and target {question.target!r} is option {gold}; both must agree."
            )
        sizes, checksum = _encoded(question, options)
        row = self._rows
        row["question_id"].append("")
        row["group"].append(question.group)
        row["gold"].append(gold)
        row["option_logprob"].append(question.logprob)
        row["option_tokens"].append(question.tokens)
        row["option_bytes"].append(sizes)
        row["prompt_sha256"].append(checksum)
        row[records.UNCONDITIONAL].append(question.unconditional)
        row["number"].append(question.number)
        row["own_id"].append(question.own_id)

    def _check(self, question: LoggedQuestion, options: list[str]) -> None:
        where = question.where
        if len(options) < 2:
            raise ImportLogError(f"{where}: {len(options)} option(s); a question needs at least two.")
        if len(question.logprob) != len(options):
            raise ImportLogError(
                f"{where}: {len(question.logprob)} log-likelihoods for {len(options)} options; must be one for each."
            )
        if "" in options:
            raise ImportLogError(f"{where}: option {options.index('')} is empty; options must be texts.")
        if first := self._numbers.get(question.number):
            raise ImportLogError(
                f"{where}: question {question.number} is already in {first}; a log must hold one run, with each"
                " question once."
            )
        self._numbers[question.number] = where.rpartition(": ")[2]

    def _keep_labels(self, options: list[str]) -> None:
        if self.labels is None:
            return
        if self.labels == options:
            return
        known = min(len(self.labels), len(options))
        if self.labels[:known] != options[:known] or any(len(option) != 1 for option in options[known:]):
            self.labels = None
        elif len(options) > known:
            self.labels = options

    def _exclude_readings(self, best: int, index: int, option: int, right: bool | None, where: str) -> None:
        self._ambiguous.append((len(self._rows["gold"]), index, option, where))
        for reading, gold in ((INDEX, index), (OPTION, option)):
            if right is not None and right != (best == gold):
                self._readings.discard(reading)
        if not self._readings:
            raise ImportLogError(
                f"{where}: what the log counts as right fits target neither as {INDEX} nor as {OPTION}; all"
                " questions of a log must have one form of target."
            )

    def table(self, path: str) -> pa.Table:
        """The questions with COLUMNS; the ids are still empty. Raises ImportLogError if there are none."""
        rows = self._rows
        if not rows["gold"]:
            raise ImportLogError(f"{path}: holds no question; the log is cut or empty.")
        if self._ambiguous:
            if len(self._readings) == 2:
                raise ImportLogError(
                    f"{self._ambiguous[0][3]}: target is both {INDEX} and {OPTION}, and no question of the log"
                    " shows which is meant; the metric acc must be logged."
                )
            for number, index, option, _ in self._ambiguous:
                rows["gold"][number] = index if INDEX in self._readings else option
        return pa.Table.from_pydict(rows, schema=COLUMNS)


def _first_largest(values: Sequence[float]) -> int:
    return values.index(max(values))


def _encoded(question: LoggedQuestion, options: list[str]) -> tuple[list[int], str]:
    """Bytes of each option, and sha256 of the context. Raises ImportLogError for half a pair of surrogates."""
    try:
        f"{question.group}{question.own_id}".encode()
        return [len(option.encode()) for option in options], hashlib.sha256(
            question.context.encode()
        ).hexdigest()
    except UnicodeEncodeError:
        raise ImportLogError(
            f"{question.where}: a text has half a pair of surrogates, which is no character; must be Unicode text."
        ) from None


def _gold(target: Any, options: list[str], where: str) -> tuple[int, int | None]:
    """The index of the right option; where the target can be read as an option too, that one's as well."""
    if isinstance(target, str) and target.startswith("[") and target.endswith("]"):
        with contextlib.suppress(SyntaxError, ValueError):
            target = ast.literal_eval(target)
    if isinstance(target, (list, tuple)):
        if len(target) != 1:
            raise ImportLogError(
                f"{where}: target is {target!r}, which is {len(target)} right options; a question must have one."
            )
        [target] = target
    text = str(target).strip()
    as_option = options.index(text) if isinstance(target, str) and text in options else None
    text = BOOLEANS.get(text, text) if as_option is None else text
    as_index = int(text) if text.isascii() and text.isdecimal() and int(text) < len(options) else None
    if as_index is None and as_option is None:
        raise ImportLogError(
            f"{where}: target is {target!r}; must be an option or a number from 0 to {len(options) - 1}."
        )
    if as_index is None or as_option is None or as_index == as_option:
        return (as_index if as_index is not None else as_option or 0), None
    return as_index, as_option


def _counted(accuracy: Any, where: str) -> bool | None:
    """Whether the harness counted a question as right; None if it does not say."""
    if accuracy is None:
        return None
    if accuracy not in (0, 1):
        raise ImportLogError(
            f"{where}: acc is {accuracy!r}; must be 0 or 1, as for a question with one right option."
        )
    return bool(accuracy)
