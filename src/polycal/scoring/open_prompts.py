"""The prompts of questions without options: one that the model continues with an answer, and one for P(True).

The wording is that of multiple-choice questions whose options are not shown (``prompts``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polycal.artifacts import open_records
from polycal.artifacts.candidate_forms import TRUE_LETTERS
from polycal.data.token_ids import Encoder
from polycal.scoring import prompts, question_prompts, true_or_false
from polycal.scoring.candidates import ScoringError
from polycal.scoring.prompts import ChatTurn, Labels, Prompt, PromptError

Row = Mapping[str, Any]
"""A row of the schema ``open_records.OPEN_QUESTION``."""


class OpenQuestions(NamedTuple):
    """The test questions of a file, the examples of each group, and the wording of their prompts."""

    rows: list[dict[str, Any]]
    fewshot: dict[str, list[prompts.Question]]
    labels: Labels
    turn: ChatTurn | None

    def prompt(self, row: Row) -> Prompt:
        """The prompt of a question. It has no candidates, because the model writes the answer."""
        solved = tuple(
            f"{prompts.question_text(example, 'texts', self.labels)} {example['answers'][0]}\n\n"
            for example in self.fewshot[row["group"]]
        )
        opening, closing = self.turn or ("", "")
        return Prompt(solved, prompts.question_text(row, "texts", self.labels) + closing, (), opening)

    def whether_true(self, row: Row, answer: str) -> Prompt:
        """The prompt that asks whether ``answer`` is true (``true_or_false``), with one proposed option."""
        proposed = {"question": row["question"], "options": [answer]}
        examples = _with_wrong_options(self.fewshot[row["group"]])
        return true_or_false.build_prompt(proposed, examples, TRUE_LETTERS, self.turn)


def read(cell: Mapping[str, Any], questions: Path) -> OpenQuestions:
    """The questions of a file with the settings num_fewshot, prompt_language and chat_template of a cell.

    Raises RecordError for a question without accepted answers, and PromptError if a group has too few examples, the
    chat format is unknown or the language has no labels.
    """
    labels, turn = question_prompts.wording(cell)
    rows = open_records.read_questions(questions, "test")
    if not rows:
        raise PromptError(f"{questions}: contains no test question; at least one is needed.")
    count = cell["settings"]["num_fewshot"]
    pool = open_records.read_questions(questions, "examples") if count else []
    groups = sorted({row["group"] for row in rows})
    fewshot = {group: prompts.fewshot_examples(pool, group, count) for group in groups}
    return OpenQuestions(rows, fewshot, labels, turn)


def _with_wrong_options(examples: Sequence[prompts.Question]) -> list[prompts.Question]:
    """The examples with two options each: an accepted answer, and that of the next example with another one."""
    found: list[prompts.Question] = []
    for number, example in enumerate(examples):
        following = [*examples[number + 1 :], *examples[:number]]
        texts = [other["answers"][0] for other in following]
        wrong = [text for text in texts if text not in example["answers"]]
        found.append({**example, "options": [example["answers"][0], *wrong[:1]], "gold": 0})
    return found


def tokenize(tokenizer: Any, asked: Sequence[Prompt], window: int) -> tuple[list[list[int]], int]:
    """The tokens of each prompt, and how many prompts lost examples because they are longer than ``window`` tokens.

    Complete examples are dropped, the first one first. Raises ScoringError if a question does not fit without any.
    """
    encode = Encoder(tokenizer)
    rows, cut = encode([prompt.prefix for prompt in asked]), 0
    for number, (prompt, tokens) in enumerate(zip(asked, rows, strict=True)):
        examples = list(prompt.examples)
        while len(tokens) > window:
            if not examples:
                raise ScoringError(
                    f"question {number}: {len(tokens)} tokens, but {window} tokens of the model's window are left"
                    " before the answer; remove the question or lower max_new_tokens."
                )
            examples.pop(0)
            [tokens] = encode([prompt.opening + "".join(examples) + prompt.question])
        if not tokens:
            raise ScoringError(f"question {number}: the prompt has no token; at least one is needed.")
        cut += len(examples) < len(prompt.examples)
        rows[number] = tokens
    return rows, cut
