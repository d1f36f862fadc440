"""Answers of a run that is not finished: a line of JSON for each question, from which the next attempt continues."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class UnfinishedAnswers:
    """The finished questions of one result, in a file beside it whose name contains its fingerprint.

    ``found`` maps the ids of questions that this or an earlier attempt finished to their answers. A line that a
    killed attempt wrote in part is ignored.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.path = out.parent / f".unfinished-{fingerprint[:16]}.jsonl"
        self.found: dict[str, dict[str, Any]] = {}
        if not self.path.is_file():
            return
        for line in self.path.read_bytes().split(b"\n")[:-1]:
            try:
                answer = json.loads(line)
                self.found[str(answer["question_id"])] = answer
            except (ValueError, KeyError, TypeError):
                continue

    def add(self, answers: Sequence[dict[str, Any]]) -> None:
        """Append the answers of some questions, also to ``found``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # It ends a line that a killed attempt wrote in part. An empty line is ignored.
            file.write("\n")
            file.writelines(json.dumps(answer, sort_keys=True) + "\n" for answer in answers)
        self.found |= {answer["question_id"]: answer for answer in answers}

    def remove(self) -> None:
        """Delete the file, because the result is written."""
        self.path.unlink(missing_ok=True)
