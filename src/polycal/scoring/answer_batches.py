"""Generate the answers to all questions of a file, batch by batch, and continue an unfinished run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from polycal.scoring import answer_generation
from polycal.scoring.answer_ends import AnswerEnds
from polycal.scoring.answer_generation import GeneratedTokens, Sampling
from polycal.scoring.token_choice import uniform_numbers
from polycal.scoring.unfinished_answers import UnfinishedAnswers

Answer = dict[str, Any]
"""The columns of ``open_records.GENERATION`` about generated answers, and question_id."""
CPU_ROWS, GPU_ROWS = 64, 512
"""Answers in a batch, if a run sets no number. If a GPU's memory is full, a batch is halved."""


class AnswerBatches:
    """Generates answers with one model and the settings of a cell: samples, temperature, top_p, max_new_tokens, seed.

    ``path`` is the path through the model that ``generation_check`` chose. ``rows`` is the largest number of answers
    in a batch. All answers to a question are in one batch.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: Mapping[str, Any],
        path: str,
        rows: int | None = None,
    ) -> None:
        self.model, self.settings, self.path = model, settings, path
        self.ends, self.padding = AnswerEnds(tokenizer, model), padding(tokenizer)
        self.sampling = Sampling(float(settings["temperature"]), float(settings["top_p"]))
        default = GPU_ROWS if model.device.type == "cuda" else CPU_ROWS
        self.questions = max((rows or default) // (1 + settings["samples"]), 1)

    def answers(
        self,
        question_ids: Sequence[str],
        prompts: Sequence[Sequence[int]],
        unfinished: UnfinishedAnswers,
        progress: Callable[[int], None] = lambda amount: None,
    ) -> list[Answer]:
        """The answers to each question, in the order of ``question_ids``. ``prompts`` are the tokens of each.

        Questions of equal length are together, the longest first. Batches are the same in each attempt, and the
        answers of a finished one are kept in ``unfinished``. ``progress`` is called with numbers of questions.
        """
        order = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
        waiting = [order[first : first + self.questions] for first in range(0, len(order), self.questions)]
        waiting.reverse()
        while waiting:
            batch = waiting.pop()
            if any(question_ids[number] not in unfinished.found for number in batch):
                try:
                    made = self._batch([question_ids[n] for n in batch], [prompts[n] for n in batch])
                except torch.OutOfMemoryError:
                    if len(batch) == 1:
                        raise
                    torch.cuda.empty_cache()
                    half = len(batch) // 2
                    waiting += [batch[half:], batch[:half]]
                    continue
                unfinished.add(made)
            progress(len(batch))
        return [unfinished.found[name] for name in question_ids]

    def _batch(self, question_ids: Sequence[str], prompts: Sequence[Sequence[int]]) -> list[Answer]:
        settings = self.settings
        uniform = np.stack(
            [
                uniform_numbers(settings["seed"], name, settings["samples"], settings["max_new_tokens"])
                for name in question_ids
            ]
        )
        made = answer_generation.generate(
            self.model, prompts, uniform, self.ends.ids, self.padding, self.sampling, self.path
        )
        return [
            {"question_id": name, **self._columns(made, number)} for number, name in enumerate(question_ids)
        ]

    def _columns(self, made: GeneratedTokens, number: int) -> Answer:
        """The columns of one question; the first of its answers is greedy."""
        cut = [self.ends.cut(tokens) for tokens in made.tokens[number].tolist()]
        logprob = [
            float(np.float32(values[: one.tokens].sum(dtype=np.float64)))
            for one, values in zip(cut, made.logprob[number], strict=True)
        ]
        greedy, *samples = cut
        return {
            "greedy": greedy.text,
            "greedy_logprob": logprob[0],
            "greedy_tokens": greedy.tokens,
            "greedy_cut": greedy.was_cut,
            "near_ties": int(made.near_tie[number, 0, : greedy.chosen].sum()),
            "samples": [one.text for one in samples],
            "sample_logprob": logprob[1:],
            "sample_tokens": [one.tokens for one in samples],
            "sample_cut": [one.was_cut for one in samples],
        }


def padding(tokenizer: Any) -> int:
    """A token id for padding. Any id does, because padding is masked."""
    return next((one for one in (tokenizer.pad_token_id, tokenizer.eos_token_id) if one is not None), 0)
