"""Collect the questions of one log, check them, and return the columns of a score record.

Harnesses log the right option as an index, a letter, the text of the option, or a list, and some log an index
as a text. If ``target`` can be read in two ways, the harness's own result (``accuracy``) decides. It is also
compared with the result of every question.
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
        ("data_set_id", pa.string()),
    ]
)
"""The columns of a score record, the harness's number of each question, and its id in the data set."""
TOLERANCE = 1e-3
"""The largest log-likelihood that is accepted, in nats, because rounding can make it positive."""
LEAST = -3e38
"""About the smallest number in single precision."""
INDEX, OPTION = "an index", "an option"
"""The two readings of a target that is the index of one option and the text of another."""
BOOLEANS = {"False": "0", "True": "1"}


class ImportLogError(PolycalError):
    """A log cannot be imported."""


@dataclass(frozen=True)
class LoggedQuestion:
    """A question as it is logged. ``where`` is its file and line. Log-likelihoods are in nats.

    ``target`` is the logged right option. ``accuracy`` is the harness's own result, or None if it is not
    logged.
    """

    where: str
    number: int
    data_set_id: str | None
    group: str
    context: str
    options: list[str]
    logprob: list[float]
    target: Any
    accuracy: Any = None
    unconditional: list[float] | None = None
    tokens: list[int] | None = None


def log_likelihoods(values: Sequence[Any], where: str, key: str) -> list[float]:
    """Log-likelihoods from numbers or texts of numbers.

    Raises ImportLogError if one is not finite or positive.
    """
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

    ``labels`` are the options if these are labels, that is the same single characters in the same order in
    all questions; otherwise None. ``rounded`` counts the questions whose most likely option changes in single
    precision, which records use.
    """

    labels: list[str] | None = field(default_factory=list)
    rounded: int = 0
    _rows: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS.names})
    _numbers: dict[int, str] = field(default_factory=dict)
    _ambiguous: list[tuple[int, int, int, str]] = field(default_factory=list)
    _readings: set[str] = field(default_factory=lambda: {INDEX, OPTION})

    def add(self, question: LoggedQuestion) -> None:
        """Check a question and add it.

        Raises ImportLogError if it cannot be a row of a score record, and if its number occurs twice.
        """
        where, options = question.where, [option.strip() for option in question.options]
        self._check(question, options)
        self._update_labels(options)
        best = _first_largest(question.logprob)
        self.rounded += _first_largest(array("f", question.logprob)) != best
        gold, gold_as_option = _gold(question.target, options, where)
        is_right = _counted_as_right(question.accuracy, where)
        if gold_as_option is not None:
            self._exclude_readings(best, gold, gold_as_option, is_right, where)
        elif is_right is not None and is_right != (best == gold):
            raise ImportLogError(
                f"{where}: the log counts this question as {'right' if is_right else 'wrong'}, but option {best} is"
                f" the most likely one and target {question.target!r} is option {gold}; both must agree."
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
        row["data_set_id"].append(question.data_set_id)

    def _check(self, question: LoggedQuestion, options: list[str]) -> None:
        """Raise ImportLogError if the options are not allowed or the number occurs twice."""
        where = question.where
        if len(options) < 2:
            raise ImportLogError(f"{where}: {len(options)} option(s); a question needs at least two.")
        if len(question.logprob) != len(options):
            raise ImportLogError(
                f"{where}: {len(question.logprob)} log-likelihoods for {len(options)} options; there must be one for"
                " each."
            )
        if "" in options:
            raise ImportLogError(f"{where}: option {options.index('')} is empty; every option needs a text.")
        if first := self._numbers.get(question.number):
            raise ImportLogError(
                f"{where}: question {question.number} is already in {first}; a log must contain one run, with each"
                " question once."
            )
        self._numbers[question.number] = where.rpartition(": ")[2]

    def _update_labels(self, options: list[str]) -> None:
        """Extend ``labels`` by the options of a question, or set it to None if they are not labels."""
        if self.labels is None or self.labels == options:
            return
        shared = min(len(self.labels), len(options))
        if self.labels[:shared] != options[:shared] or any(len(option) != 1 for option in options[shared:]):
            self.labels = None
        elif len(options) > shared:
            self.labels = options

    def _exclude_readings(
        self, best: int, index: int, option: int, is_right: bool | None, where: str
    ) -> None:
        """Exclude each reading of an ambiguous target that disagrees with the harness's own result."""
        self._ambiguous.append((len(self._rows["gold"]), index, option, where))
        for reading, gold in ((INDEX, index), (OPTION, option)):
            if is_right is not None and is_right != (best == gold):
                self._readings.discard(reading)
        if not self._readings:
            raise ImportLogError(
                f"{where}: target agrees with acc neither as {INDEX} nor as {OPTION}; all questions of a log must"
                " have one form of target."
            )

    def table(self, path: str) -> pa.Table:
        """The questions, with COLUMNS. The question ids are still empty.

        Raises ImportLogError if there are none, and if it is not clear how the targets must be read.
        """
        rows = self._rows
        if not rows["gold"]:
            raise ImportLogError(f"{path}: contains no question; at least one is needed.")
        if self._ambiguous:
            if len(self._readings) == 2:
                raise ImportLogError(
                    f"{self._ambiguous[0][3]}: target is both {INDEX} and {OPTION}, and no question of the log"
                    " shows which is right; the metric acc must be logged."
                )
            for number, index, option, _ in self._ambiguous:
                rows["gold"][number] = index if INDEX in self._readings else option
        return pa.Table.from_pydict(rows, schema=COLUMNS)


def _first_largest(values: Sequence[float]) -> int:
    """The index of the largest value, the first one if several are equal."""
    return values.index(max(values))


def _encoded(question: LoggedQuestion, options: list[str]) -> tuple[list[int], str]:
    """The length in bytes of each option, and the sha256 of the context.

    Raises ImportLogError if a text of the question is not valid Unicode.
    """
    try:
        f"{question.group}{question.data_set_id}".encode()
        return [len(option.encode()) for option in options], hashlib.sha256(
            question.context.encode()
        ).hexdigest()
    except UnicodeEncodeError:
        raise ImportLogError(
            f"{question.where}: a text contains half a surrogate pair, which is not a character; must be Unicode"
            " text."
        ) from None


def _gold(target: Any, options: list[str], where: str) -> tuple[int, int | None]:
    """The index of the right option.

    If ``target`` can also be read as the text of another option, also its index.
    """
    if isinstance(target, str) and target.startswith("[") and target.endswith("]"):
        with contextlib.suppress(SyntaxError, ValueError):
            target = ast.literal_eval(target)
    if isinstance(target, (list, tuple)):
        if len(target) != 1:
            raise ImportLogError(
                f"{where}: target is {target!r}, which are {len(target)} right options; a question must have one."
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


def _counted_as_right(accuracy: Any, where: str) -> bool | None:
    """Whether the harness counted a question as right, or None if this is not logged."""
    if accuracy is None:
        return None
    if accuracy not in (0, 1):
        raise ImportLogError(
            f"{where}: acc is {accuracy!r}; must be 0 or 1, as for a question with one right option."
        )
    return bool(accuracy)
