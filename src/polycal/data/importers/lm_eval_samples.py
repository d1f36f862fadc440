"""Convert the entries in a log of lm-evaluation-harness into questions.

Each entry is one question. Each of its options is one request: the context, and the option after the task's
delimiter. With the metric acc_mutual_info there are as many further requests, with the same options after an
empty context.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from polycal.data.importers.logged_questions import (
    ImportLogError,
    LoggedQuestion,
    LoggedQuestions,
    log_likelihoods,
)

KEYS = {"doc_id", "doc", "target", "arguments", "resps"}
"""Keys that are needed. Every version logs them."""
ID_KEYS = ("sample_id", "question_id", "id")
"""Columns in which data sets have an id. The first of them that exists is used."""
GROUP_KEYS = ("subject", "category")
"""Columns in which data sets have a subject. The first of them that exists is used."""
GENERATED = (
    "the task generates text or scores single texts, so its log contains no log-likelihoods of options; log it as a"
    " multiple-choice task"
)


class Requests(NamedTuple):
    """The requests of one question: contexts, continuations, and the logged log-likelihoods."""

    contexts: list[str]
    continuations: list[str]
    values: list[Any]


def read(samples: Iterable[tuple[str, Any]]) -> tuple[LoggedQuestions, bool]:
    """The questions of one log, and whether the numbers of its documents may be wrong.

    ``samples`` are pairs of a location, for messages, and an entry. If there are several filters, only the
    entries of the first one are read, because all have the same log-likelihoods. Raises ImportLogError for
    the first entry that is not allowed.
    """
    questions, numbers = LoggedQuestions(), []
    first: tuple[Any, type] | None = None
    for where, sample in samples:
        if not isinstance(sample, dict):
            raise ImportLogError(f"{where}: must be a JSON object, not {type(sample).__name__}.")
        if not sample.keys() >= KEYS:
            missing = min(KEYS - sample.keys())
            raise ImportLogError(f"{where}: key {missing!r} is missing; a question of lm-eval must have it.")
        kind = (sample.get("filter"), type(sample["arguments"]))
        first = first or kind
        if kind[1] is not first[1]:
            raise ImportLogError(
                f"{where}: arguments has another form than in earlier entries; one version must write the whole log."
            )
        if kind[0] == first[0]:
            question = _question(sample, where)
            questions.add(question)
            numbers.append(question.number)
    return questions, not _of_ranks(numbers)


def _question(sample: Mapping[str, Any], where: str) -> LoggedQuestion:
    """The question of an entry. Raises ImportLogError, with the key, if a value is not allowed."""
    number, doc = sample["doc_id"], sample["doc"]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
        raise ImportLogError(f"{where}: doc_id is {number!r}; must be a whole number from 0.")
    if not isinstance(doc, dict):
        raise ImportLogError(f"{where}: doc is {type(doc).__name__}; must be an object.")
    requests = _requests(sample, where)
    count = len(requests.contexts)
    # A task can have an empty context, but then the first half of the requests has it too.
    half = count // 2
    unconditional = None
    if count % 2 == 0 and requests.contexts[0] != "" and not any(requests.contexts[half:]):
        if requests.continuations[:half] != requests.continuations[half:]:
            raise ImportLogError(
                f"{where}: arguments without a context have other options than those with one; must be the same."
            )
        unconditional, count = log_likelihoods(requests.values[half:], where, "resps"), half
    if requests.contexts[:count].count(requests.contexts[0]) < count:
        raise ImportLogError(
            f"{where}: arguments have several contexts (as in winogrande), and the log does not contain which one is"
            " right; there must be one context and several options."
        )
    return LoggedQuestion(
        where=where,
        number=number,
        data_set_id=_text(doc, ID_KEYS, (str, int)),
        group=_text(doc, GROUP_KEYS, (str,)) or "",
        context=requests.contexts[0],
        options=requests.continuations[:count],
        logprob=log_likelihoods(requests.values[:count], where, "resps"),
        target=sample["target"],
        accuracy=sample.get("acc"),
        unconditional=unconditional,
    )


def _requests(sample: Mapping[str, Any], where: str) -> Requests:
    """The requests of a question. Raises ImportLogError if they are not requests of options."""
    arguments, answers = sample["arguments"], sample["resps"]
    pairs = list(arguments.values()) if isinstance(arguments, dict) else arguments
    if not isinstance(pairs, list) or not isinstance(answers, list) or not 0 < len(answers) == len(pairs):
        raise ImportLogError(
            f"{where}: resps and arguments differ in length; there must be one answer to each request."
        )
    contexts, continuations, values = [], [], []
    for pair, repeats in zip(pairs, answers, strict=True):
        try:
            context, continuation = (pair["arg_0"], pair["arg_1"]) if isinstance(pair, dict) else pair[:2]
        except (KeyError, TypeError, ValueError):
            context = continuation = None
        if not isinstance(context, str) or not isinstance(continuation, str):
            raise ImportLogError(f"{where}: arguments contain no option: {GENERATED}.")
        answer = repeats[0] if isinstance(repeats, list) and repeats else None
        if not isinstance(answer, list) or len(answer) != 2:
            raise ImportLogError(
                f"{where}: resps contain no pair of log-likelihood and is_greedy: {GENERATED}."
            )
        contexts.append(context)
        continuations.append(continuation)
        values.append(answer[0])
    return Requests(contexts, continuations, values)


def _text(doc: Mapping[str, Any], keys: Iterable[str], kinds: tuple[type, ...]) -> str | None:
    """The value of the first of ``keys`` whose value is of one of the types ``kinds`` and not empty, as a text."""
    for key in keys:
        value = doc.get(key)
        if isinstance(value, kinds) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return None


def _of_ranks(numbers: list[int]) -> bool:
    """Whether the numbers are in an order in which one or several processes write them.

    One process writes ascending numbers. Of n processes each writes every n-th number, and their results are
    concatenated. Another order means ``--samples`` with an unsorted list, for which the harness assigns the
    numbers to the wrong documents.
    """
    starts = [0, *(index for index in range(1, len(numbers)) if numbers[index] <= numbers[index - 1])]
    if len(starts) == 1:
        return True
    parts = [numbers[start:end] for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True)]
    return all(part == list(range(rank, len(numbers), len(starts))) for rank, part in enumerate(parts))
