"""Tokenize prompts with their candidates, and determine where the candidates begin."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from polycal.data.token_ids import Encoder
from polycal.errors import LanguageError
from polycal.scoring.prompts import Prompt


class ScoringError(LanguageError):
    """A candidate cannot be scored."""


@dataclass(frozen=True)
class Candidate:
    """One candidate of a question: the tokens of prompt and candidate, and the index of the candidate's first one."""

    question: int
    option: int
    tokens: Sequence[int]
    start: int


@dataclass(frozen=True)
class TokenizedPrompt:
    """The candidates of one prompt, the few-shot examples that fit the window, and whether others were dropped."""

    candidates: list[Candidate]
    examples: str
    was_cut: bool


def tokenize_prompts(tokenizer: Any, prompts: Iterable[Prompt], window: int) -> Iterator[TokenizedPrompt]:
    """Tokenize all candidates of each prompt. Questions are numbered from 0.

    If the prompt with its longest candidate has more than ``window`` tokens, complete examples are dropped,
    the first one first. Raises ScoringError if a question does not fit even without examples, or if prompt or
    candidate has no token.
    """
    encode = Encoder(tokenizer)
    for number, prompt in enumerate(prompts):
        examples = list(prompt.examples)
        while True:
            prefix = prompt.opening + "".join(examples) + prompt.question
            sequences, start = tokenize_candidates(encode, prefix, prompt.candidates)
            longest = max(map(len, sequences))
            if longest <= window:
                break
            if not examples:
                raise ScoringError(
                    f"question {number}: {longest} tokens, but the model's window is {window} tokens; remove the"
                    " question."
                )
            examples.pop(0)
        for option, tokens in enumerate(sequences):
            if start == 0 or start >= len(tokens):
                raise ScoringError(
                    f"question {number}, option {option}: the prompt or the candidate has no token; both need at"
                    " least one."
                )
        yield TokenizedPrompt(
            [Candidate(number, option, tokens, start) for option, tokens in enumerate(sequences)],
            "".join(examples),
            len(examples) < len(prompt.examples),
        )


def tokenize_candidates(
    encode: Encoder, prefix: str, candidates: Sequence[str]
) -> tuple[list[list[int]], int]:
    """The tokens of prefix and candidate as one text, for each candidate, and the index where candidates begin.

    If the tokenizer merges characters of prefix and candidate, the candidates begin with the merged token.
    The index is the same for all candidates of a prompt, so that a token of the prompt counts for all of them
    or for none.
    """
    before, *sequences = encode([prefix, *(prefix + text for text in candidates)])
    return sequences, min(common_prefix_length(before, tokens) for tokens in sequences)


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """The number of leading elements that are equal.

    Bisection with slice comparisons is faster than a loop.
    """
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
