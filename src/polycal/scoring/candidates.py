"""Tokenized candidates: the tokens of prompt and candidate together, and where the candidate begins."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from polycal.data.token_ids import Encoder
from polycal.errors import LanguageError
from polycal.scoring.prompts import Prompt


class ScoringError(LanguageError):
    """A candidate that cannot be scored; the message names the question."""


@dataclass(frozen=True)
class Candidate:
    """One candidate of a question: tokens of prompt and candidate, and where the candidate starts."""

    question: int
    option: int
    tokens: Sequence[int]
    start: int


@dataclass(frozen=True)
class TokenizedPrompt:
    """The candidates of one prompt, the few-shot examples that fit the window, and whether some did not."""

    candidates: list[Candidate]
    examples: str
    was_cut: bool


def tokenize_prompts(tokenizer: Any, prompts: Iterable[Prompt], window: int) -> Iterator[TokenizedPrompt]:
    """Tokenize all candidates of each prompt; questions are numbered from 0.

    Whole examples are dropped, the first ones first, until the longest candidate fits ``window`` tokens.
    Raises ScoringError if a question does not fit without examples, or a candidate has no token of its own.
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
                    f"question {number}: {longest} tokens, but the model's window holds {window};"
                    " leave it out"
                )
            examples.pop(0)
        for option, tokens in enumerate(sequences):
            if start == 0 or start >= len(tokens):
                raise ScoringError(
                    f"question {number}, option {option}: nothing to score between prefix and end;"
                    " both need a token"
                )
        yield TokenizedPrompt(
            [Candidate(number, option, tokens, start) for option, tokens in enumerate(sequences)],
            "".join(examples),
            len(examples) < len(prompt.examples),
        )


def tokenize_candidates(
    encode: Encoder, prefix: str, candidates: Sequence[str]
) -> tuple[list[list[int]], int]:
    """Tokens of prefix and candidate as one text, per candidate, and the index where candidates begin.

    If the tokenizer merges characters across the boundary, candidates begin with the merged token. The index
    is the same for all candidates of a prompt, so that tokens of the prompt count for all of them or for
    none.
    """
    before, *sequences = encode([prefix, *(prefix + text for text in candidates)])
    return sequences, min(common_prefix_length(before, tokens) for tokens in sequences)


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading elements that are equal, by bisection over slice comparisons."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
