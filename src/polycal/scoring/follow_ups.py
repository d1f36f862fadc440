"""A second question about the chosen option: how confident the model is, or whether the option is true.

It follows the option, so the model reads the question once. The confidence in percent is that of Tian et al. 2023
(arXiv 2305.14975, "Verb. 2S"), by likelihood and not by sampling. P(True) is that of ``true_or_false``. Few-shot
examples have no second question, so that the option itself is chosen as without it. A change of any wording here
needs a new VERSION of ``prompts``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polycal.artifacts.candidate_forms import LEVEL_VALUES, LEVELS, TEXTS
from polycal.data.token_ids import Encoder
from polycal.scoring import true_or_false
from polycal.scoring.candidates import Candidate, ScoringError, common_prefix_length
from polycal.scoring.confidence_labels import CONFIDENCE
from polycal.scoring.prompts import ChatTurn, Prompt, PromptError
from polycal.scoring.text_ends import TextEnds


@dataclass(frozen=True)
class FollowUp:
    """What is asked after the chosen option of a question.

    - ``asked``: pairs of a text after the option and its answers. The answers of all pairs are numbered in
      order.
    - ``closing``: the end of the user's turn in a chat format. The whole second question is part of that turn.
    - ``normalise``: how log-likelihoods of options are normalised for the choice (sum, token or byte).
    """

    asked: tuple[tuple[str, tuple[str, ...]], ...]
    closing: str
    normalise: str

    def choose(self, logprob: Sequence[float], tokens: Sequence[int], texts: Sequence[str]) -> int:
        """The chosen option: the first of the largest normalised log-likelihoods.

        ``logprob``, ``tokens`` and ``texts`` have one value for each option. The log-likelihoods are rounded as in a
        score record.
        """
        lengths = {
            "sum": [1] * len(texts),
            "token": tokens,
            "byte": [len(text.strip().encode()) for text in texts],
        }[self.normalise]
        return int(
            np.argmax(np.asarray(logprob, np.float32).astype(np.float64) / np.asarray(lengths, np.float64))
        )

    def candidates(
        self,
        tokenize: TextEnds,
        prompt: Prompt,
        examples: str,
        known: np.ndarray,
        chosen: tuple[int, int],
    ) -> list[Candidate]:
        """The answers after the ``chosen`` option of a prompt with the few-shot ``examples``, tokenized.

        ``chosen`` are the number of the question and of the option. ``known``, int [length], are the tokens of
        the prompt with its first option. The field ``option`` of a result is the number of the answer. Raises
        ScoringError if an answer has no token.
        """
        question, option = chosen
        body = prompt.question.removesuffix(self.closing) if self.closing else prompt.question
        before = f"{body} {prompt.candidates[option].strip()}"
        found: list[Candidate] = []
        for text, answers in self.asked:
            ends = [before + text, *(before + text + answer for answer in answers)]
            asked, *sequences = tokenize(
                known, prompt.opening + examples, prompt.question + prompt.candidates[0], ends
            )
            start = min(common_prefix_length(asked, tokens) for tokens in sequences)
            if any(start >= len(tokens) for tokens in sequences):
                raise ScoringError(
                    f"question {question}: an answer to the follow-up has no token; use a tokenizer that reads"
                    " digits and letters."
                )
            numbers = range(len(found), len(found) + len(sequences))
            found += [
                Candidate(question, number, tokens, start)
                for number, tokens in zip(numbers, sequences, strict=True)
            ]
        return found

    def longest(self, encode: Encoder) -> int:
        """The most tokens that follow an option, and two that tokens merged at the borders may add."""
        texts = [text + answer for text, answers in self.asked for answer in answers]
        return max(map(len, encode(texts))) + 2


def follow_up(settings: Mapping[str, Any], language: str, turn: ChatTurn | None = None) -> FollowUp | None:
    """The follow-up of a cell with the keys follow_up, candidates, prompt_language and normalise; None without one.

    Raises PromptError if ``prompt_language`` is ``local`` and there is no word for ``language``.
    """
    form = settings.get("follow_up")
    if form is None:
        return None
    closing = turn.closing if turn else ""
    normalise = settings.get("normalise") or ("token" if settings["candidates"] == TEXTS else "sum")
    # In a chat format the answer is the beginning of the assistant's turn, without a space.
    space = "" if closing else " "
    if form == LEVELS:
        word = _word(settings.get("prompt_language", "english"), language)
        levels = tuple(f"{space}{level}%" for level in LEVEL_VALUES)
        return FollowUp(((f"\n{word}:{closing}", levels),), closing, normalise)
    asked = tuple(
        (
            f"\n{true_or_false.asked(form, true_first)}{closing}",
            tuple(f"{space}{answer}" for answer in true_or_false.answers(form, true_first)),
        )
        for true_first in true_or_false.TRUE_FIRST
    )
    return FollowUp(asked, closing, normalise)


def _word(prompt_language: str, language: str) -> str:
    """The word before a stated confidence."""
    if prompt_language == "english":
        return CONFIDENCE["en"]
    if language not in CONFIDENCE:
        raise PromptError(
            f"prompt_language 'local' has no word for confidence in language {language!r};"
            f" known: {', '.join(sorted(CONFIDENCE))}."
        )
    return CONFIDENCE[language]
