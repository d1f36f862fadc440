"""Build the prompts of a file of questions with the settings of a cell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from polycal.artifacts import records
from polycal.scoring import chat_turns, prompts

Cell = Mapping[str, Any]


class Asking(NamedTuple):
    """The questions of a file, and what their prompts have in common.

    ``fewshot`` are the examples of each group. ``labels`` and ``turn`` are the wording.
    """

    rows: list[dict[str, Any]]
    fewshot: dict[str, list[prompts.Question]]
    labels: prompts.Labels
    turn: prompts.ChatTurn | None

    def prompt(self, question: prompts.Question, candidates: prompts.Candidates) -> prompts.Prompt:
        """The prompt of a question. Raises PromptError."""
        examples = self.fewshot[question["group"]]
        return prompts.build_prompt(question, examples, candidates, self.labels, self.turn)


def read(cell: Cell, questions: Path, examples: Path | None = None, first: int | None = None) -> Asking:
    """The first ``first`` test questions of a file (None: all), with the examples and the wording of a cell.

    The settings are num_fewshot, prompt_language and chat_template. Few-shot examples come from the split
    examples of the file ``examples``, by default of ``questions``. Raises RecordError or PromptError.
    """
    labels, turn = wording(cell)
    rows = records.read_questions(questions, "test")[:first]
    num_fewshot = cell["settings"]["num_fewshot"]
    pool = records.read_questions(examples or questions, "examples") if num_fewshot else []
    groups = sorted({row["group"] for row in rows})
    fewshot = {group: prompts.fewshot_examples(pool, group, num_fewshot) for group in groups}
    return Asking(rows, fewshot, labels, turn)


def build_prompts(
    cell: Cell, questions: Path, examples: Path | None = None, first: int | None = None
) -> tuple[list[dict[str, Any]], list[prompts.Prompt]]:
    """The questions of ``read``, and one prompt for each. Raises RecordError or PromptError."""
    asking = read(cell, questions, examples, first)
    return asking.rows, [asking.prompt(row, cell["settings"]["candidates"]) for row in asking.rows]


def wording(cell: Cell) -> tuple[prompts.Labels, prompts.ChatTurn | None]:
    """The labels and the chat turn of a cell.

    Raises PromptError if the chat format is unknown or the language has no labels.
    """
    settings = cell["settings"]
    labels = prompts.labels_for(settings.get("prompt_language", "english"), str(cell.get("language")))
    template = settings.get("chat_template")
    return labels, chat_turns.user_turn(template) if template is not None else None
