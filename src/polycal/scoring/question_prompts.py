"""Build the prompts of a file of questions with the settings of a cell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import records
from polycal.scoring import chat_turns, prompts

Cell = Mapping[str, Any]


def build_prompts(
    cell: Cell, questions: Path, examples: Path | None = None, first: int | None = None
) -> tuple[list[dict[str, Any]], list[prompts.Prompt]]:
    """The first ``first`` test questions of a file (None: all), and one prompt for each.

    The settings are candidates, num_fewshot, prompt_language and chat_template. Few-shot examples come from
    the split examples of the file ``examples``, by default of ``questions``. Raises RecordError or
    PromptError.
    """
    settings = cell["settings"]
    labels, turn = wording(cell)
    rows = records.read_questions(questions, "test")[:first]
    num_fewshot = settings["num_fewshot"]
    pool = records.read_questions(examples or questions, "examples") if num_fewshot else []
    groups = sorted({row["group"] for row in rows})
    fewshot = {group: prompts.fewshot_examples(pool, group, num_fewshot) for group in groups}
    return rows, [
        prompts.build_prompt(row, fewshot[row["group"]], settings["candidates"], labels, turn) for row in rows
    ]


def wording(cell: Cell) -> tuple[prompts.Labels, prompts.ChatTurn | None]:
    """The labels and the chat turn of a cell.

    Raises PromptError if the chat format is unknown or the language has no labels.
    """
    settings = cell["settings"]
    labels = prompts.labels_for(settings.get("prompt_language", "english"), str(cell.get("language")))
    template = settings.get("chat_template")
    return labels, chat_turns.user_turn(template) if template is not None else None
