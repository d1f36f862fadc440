"""The stage that writes the benchmark world: for each variant a folder with a file of questions in each language."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.artifacts.manifests import Stamp
from polycal.data import sources
from polycal.data.world import open_questions, questions
from polycal.data.world.languages import LANGUAGES, OPEN, OPEN_FROM, VARIANTS
from polycal.data.world.names import Names


def world_benchmark(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> None:
    """Write the questions of each variant in each language beside the manifest ``out``, as VARIANT/LANGUAGE.jsonl.

    ``cell`` has no settings: the version of Babel determines the questions. The manifest lists size and sha256 of
    each file, and for each variant the number of questions by group and split. For variants with options it also
    contains, for each language, the share of candidates that are spelled as in English. Files of an earlier run are
    deleted. Raises WorldError if Babel lacks names; nothing is written or deleted then.
    """
    names = Names(LANGUAGES)
    drawn = {variant: questions.questions(names, most) for variant, most in VARIANTS.items()}
    for variant in (*VARIANTS, OPEN):
        shutil.rmtree(out.parent / variant, ignore_errors=True)
    written: list[Path] = []
    described: dict[str, Any] = {}
    for variant, of_variant in drawn.items():
        for language in LANGUAGES:
            rows = [questions.row(question, names, language) for question in of_variant]
            written.append(_write(out.parent / variant, language, rows))
        described[variant] = {
            "questions": questions.counts(of_variant),
            "equal_to_english": {
                language: questions.equal_to_english(of_variant, names, language) for language in LANGUAGES
            },
        }
    asked = open_questions.open_questions(drawn[OPEN_FROM])
    for language in LANGUAGES:
        rows = [open_questions.row(question, names, language) for question in asked]
        written.append(_write(out.parent / OPEN, language, rows))
    facts = {"variants": described, "open": {OPEN: questions.counts(asked)}}
    files.write_json(out, {**stamp(), "files": sources.checksums(written, out.parent), **facts})


def _write(folder: Path, language: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write the questions of one language, and return the path."""
    path = folder / f"{language}.jsonl"
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path
