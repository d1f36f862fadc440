"""The stage that writes the benchmark world: for each variant a folder with a file of questions in each language."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.artifacts.manifests import Stamp
from polycal.data import sources
from polycal.data.world import questions
from polycal.data.world.languages import LANGUAGES, VARIANTS
from polycal.data.world.names import Names


def world_benchmark(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> None:
    """Write the questions of each variant in each language beside the manifest ``out``, as VARIANT/LANGUAGE.jsonl.

    ``cell`` has no settings: the version of Babel determines the questions. The manifest lists size and sha256 of
    each file, for each variant the number of questions by group and split, and for each language the share of
    candidates that are spelled as in English. Files of an earlier run are deleted. Raises WorldError if Babel lacks
    names; nothing is written or deleted then.
    """
    names = Names(LANGUAGES)
    drawn = {variant: questions.questions(names, most) for variant, most in VARIANTS.items()}
    written, described = [], {}
    for variant, of_variant in drawn.items():
        folder = out.parent / variant
        shutil.rmtree(folder, ignore_errors=True)
        for language in LANGUAGES:
            rows = [questions.row(question, names, language) for question in of_variant]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            files.write_text(folder / f"{language}.jsonl", text)
            written.append(folder / f"{language}.jsonl")
        described[variant] = {
            "questions": questions.counts(of_variant),
            "equal_to_english": {
                language: questions.equal_to_english(of_variant, names, language) for language in LANGUAGES
            },
        }
    files.write_json(out, {**stamp(), "files": sources.checksums(written, out.parent), "variants": described})
