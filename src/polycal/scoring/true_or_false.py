"""P(True): each option is proposed as the answer, and the model is asked whether it is true.

The question is that of Kadavath et al. 2022 (arXiv 2207.05221): the likelihood of "true" against "false" after a
proposed answer. It is asked with true first and with false first, because models prefer a letter or a word. A
change of any wording here needs a new VERSION of ``prompts``.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polycal.artifacts.candidate_forms import TRUE_LETTERS
from polycal.scoring.prompts import ChatTurn, Prompt, Question

TRUE_FIRST = (True, False)
"""The two orders in which true and false are named."""
PROPOSED = "Proposed answer:"


def build_prompt(
    question: Question, examples: Sequence[Question], form: str, turn: ChatTurn | None = None
) -> Prompt:
    """One prompt with 4 K candidates for a question of K options.

    The prompt ends before the proposed answer. A candidate is a proposed option, the question whether it is
    true in one of the orders TRUE_FIRST, and the answer: for each option, for each order, first true and then
    false. Two candidates that differ only in the answer share all other tokens, which cancel in ``p_true``.
    ``form`` is one of ``candidate_forms.P_TRUE``.
    """
    options = [f" {option.strip()}" for option in question["options"]]
    return _prompt(f"{question['question'].strip()}\n{PROPOSED}", options, examples, form, turn)


def content_free_prompt(examples: Sequence[Question], form: str, turn: ChatTurn | None = None) -> Prompt:
    """The prompt of ``build_prompt`` with neither question nor option, with 4 candidates.

    How likely the model finds *true* after it is what it prefers whatever the question: the content-free input of
    Zhao et al. 2021 (arXiv 2102.09690). ``p_true`` takes it off.
    """
    return _prompt(PROPOSED, [""], examples, form, turn)


def _prompt(
    text: str, options: Sequence[str], examples: Sequence[Question], form: str, turn: ChatTurn | None
) -> Prompt:
    opening, closing = turn or ("", "")
    # In a chat format the answer is the beginning of the assistant's turn, without a space.
    before = closing or " "
    candidates = [
        f"{option}\n{asked(form, true_first)}{before}{answer}"
        for option in options
        for true_first in TRUE_FIRST
        for answer in answers(form, true_first)
    ]
    solved = tuple(_solved(example, form, number) for number, example in enumerate(examples))
    return Prompt(solved, text, tuple(candidates), opening)


def asked(form: str, true_first: bool) -> str:
    """The question whether the proposed answer is true."""
    first, second = ("true", "false") if true_first else ("false", "true")
    if form == TRUE_LETTERS:
        return f"Is the proposed answer:\nA. {first.capitalize()}\nB. {second.capitalize()}\nAnswer:"
    return f"Is the proposed answer {first} or {second}?\nAnswer:"


def answers(form: str, true_first: bool) -> tuple[str, str]:
    """The answers that mean true and false."""
    if form == TRUE_LETTERS:
        return ("A", "B") if true_first else ("B", "A")
    return "true", "false"


def _solved(example: Question, form: str, number: int) -> str:
    """A few-shot example. Every second one proposes a wrong option, and every second pair names false first."""
    is_true, true_first = number % 2 == 0, number // 2 % 2 == 0
    option = example["options"][(example["gold"] + (not is_true)) % len(example["options"])]
    answer = answers(form, true_first)[not is_true]
    text = f"{example['question'].strip()}\n{PROPOSED} {option.strip()}"
    return f"{text}\n{asked(form, true_first)} {answer}\n\n"


def p_true(
    logprob: Sequence[float], content_free: Sequence[float] | None = None
) -> tuple[NDArray[np.float64], float]:
    """log P(True) of each of K options, [K], and how much the order of true and false changes it.

    ``logprob`` [4 K] are the log-likelihoods in nats of the candidates of ``build_prompt``. P(True) is the mean
    over both orders of p(true) / (p(true) + p(false)). The second result is the mean over options of half the
    difference between the orders, in [0, 0.5]. With ``content_free`` [4], the log-likelihoods of the candidates of
    ``content_free_prompt``, each likelihood is first divided by the one in the same place there (PMI).
    """
    false_less_true = _false_less_true(logprob)
    if content_free is not None:
        false_less_true = false_less_true - _false_less_true(content_free)
    log_p = -np.logaddexp(0.0, false_less_true)
    mean = np.logaddexp.reduce(log_p, axis=1) - np.log(len(TRUE_FIRST))
    spread = np.abs(np.diff(np.exp(log_p), axis=1)).mean() / 2
    return mean, float(spread)


def _false_less_true(logprob: Sequence[float]) -> NDArray[np.float64]:
    """log p(false) − log p(true) of each option in each order, [K, 2]."""
    scores = np.asarray(logprob, dtype=np.float64).reshape(-1, len(TRUE_FIRST), 2)
    return scores[..., 1] - scores[..., 0]
