"""The commands ``score`` and ``measure``, which also work without a workflow.

Outside of a workflow, ``score`` asks any model the questions of any file, and ``measure`` prints the
metrics of score records.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polycal import vocabulary
from polycal.artifacts import manifests, records
from polycal.artifacts.candidate_forms import FOLLOW_UPS, LETTERS, P_TRUE, TEXTS
from polycal.cli import printed_tables, record_files, stage_commands
from polycal.cli.printed_tables import Format
from polycal.cli.stage_commands import CacheDir, Code, Partial, UsageError
from polycal.store.run import Job, run
from polycal.store.stages import STAGES
from polycal.vocabulary import CHECKPOINT_KEYS

if TYPE_CHECKING:
    import pandas as pd

COMMANDS = ("score", "measure")
"""Stages whose commands are defined in this module, because they have additional options."""

LONGEST_NAME = 200
"""Maximum bytes in the name of a record. The temporary file beside it has a longer name."""

MOST_ORDERS = len(vocabulary.LETTERS)
"""Orders of the options: at most one for each letter."""

CHOICES = {
    "candidates": (LETTERS, TEXTS, *P_TRUE),
    "follow_up": FOLLOW_UPS,
    "dtype": ("float32", "bfloat16"),
    "attention": ("sdpa", "eager", "flash_attention_2"),
}


def add_to(app: typer.Typer) -> None:
    """Add the commands score and measure to ``app``."""
    app.command(help=STAGES["score"].help)(score)
    app.command(help=STAGES["measure"].help)(measure)


def score(
    model: Annotated[Path, typer.Option(help="Model folder or manifest.")],
    questions: Annotated[list[Path], typer.Option(help="File of questions; repeat per language.")],
    out: Annotated[list[Path], typer.Option(help="Record to write; one per file of questions.")],
    cells: Annotated[str | None, typer.Option(help="JSON list: all that determines each record.")] = None,
    language: Annotated[
        str | None,
        typer.Option(help="Whose questions are taken from files of several languages, without --cells."),
    ] = None,
    candidates: Annotated[
        str,
        typer.Option(help="letters, texts, true_letters or true_words (P(True)), without --cells."),
    ] = "letters",
    num_fewshot: Annotated[int, typer.Option(min=0, help="Examples per question, without --cells.")] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16, without --cells.")] = "float32",
    attention: Annotated[
        str, typer.Option(help="sdpa, eager or flash_attention_2, without --cells.")
    ] = "sdpa",
    pmi: Annotated[
        bool, typer.Option(help="Score candidates after a neutral context too, without --cells.")
    ] = False,
    chat_template: Annotated[str | None, typer.Option(help="Chat format, without --cells.")] = None,
    rotations: Annotated[
        int,
        typer.Option(min=1, max=MOST_ORDERS, help="Orders of the options, averaged; without --cells."),
    ] = 1,
    follow_up: Annotated[
        str | None,
        typer.Option(
            help="levels, true_letters or true_words: asked about the chosen option, without --cells."
        ),
    ] = None,
    examples: Annotated[Path | None, typer.Option(help="Questions that examples are taken from.")] = None,
    token_budget: Annotated[
        int | None, typer.Option(min=1, help="Padded tokens per batch; default: from the free memory.")
    ] = None,
    code: Code = None,
    cache_dir: CacheDir = None,
) -> None:
    """Run the stage ``score``: for a workflow with ``--cells``, otherwise for a user's own questions.

    Raises UsageError for options that contradict each other.
    """
    stage = STAGES["score"]
    options = {"token_budget": token_budget}
    if cells:
        with tempfile.TemporaryDirectory() as folder:
            inputs = {"model": model, **_records(questions, examples, Path(folder))}
            given = {"cells": cells, "examples": None, **inputs, "out": out, **options}
            run(stage_commands.job(stage, {**given, "code": code, "cache_dir": cache_dir}))
        return
    if len(questions) != len(out):
        raise UsageError(f"{len(questions)} --questions but {len(out)} --out; give one of each per language.")
    settings = {
        "candidates": candidates,
        "num_fewshot": num_fewshot,
        "pmi": pmi,
        "chat_template": chat_template,
        "dtype": dtype,
        "attention": attention,
        **({"rotations": rotations} if rotations > 1 else {}),
        **({"follow_up": follow_up} if follow_up is not None else {}),
    }
    if rotations > 1 and (pmi or candidates != "letters"):
        raise UsageError(
            f"--rotations {rotations}: is for --candidates letters without --pmi; remove one of them."
        )
    check_choices(**{key: str(settings[key]) for key in CHOICES if key in settings})
    _check_follow_up(settings)
    _check_outputs(out)
    described = [_cell(model, file, language or file.stem, settings) for file in questions]
    with tempfile.TemporaryDirectory() as folder:
        inputs = {"model": model, **_records(questions, examples, Path(folder), language)}
        run(Job(stage, described, inputs, out, cache_dir, code, options))


def _check_follow_up(settings: dict[str, Any]) -> None:
    """Raise UsageError if a follow-up is given with P(True) or with several orders of the options."""
    follow_up, candidates = settings.get("follow_up"), settings["candidates"]
    if follow_up is not None and (candidates in P_TRUE or "rotations" in settings):
        other = f"--candidates {candidates}" if candidates in P_TRUE else "--rotations"
        raise UsageError(f"--follow-up {follow_up}: is for letters or texts in one order; remove {other}.")


def check_choices(**given: str) -> None:
    """Raise UsageError if an option (name=value) is not one of its CHOICES."""
    for key, value in given.items():
        if value not in CHOICES[key]:
            name = key.replace("_", "-")
            raise UsageError(f"--{name}: {value!r} is refused: must be {' or '.join(CHOICES[key])}.")


def _cell(model: Path, questions: Path, language: str, settings: dict[str, Any]) -> dict[str, Any]:
    names = {"benchmark": questions.parent.name, "language": language}
    return {"stage": "score", **_checkpoint_names(model), **names, "settings": settings}


def _checkpoint_names(model: Path) -> dict[str, str]:
    """The names that identify a checkpoint, from its manifest.

    If ``model`` is a folder, or a manifest without names, the model is named after the folder.
    """
    if not model.is_file():
        return {"model": model.absolute().name}
    try:
        cell = manifests.read(model).get("cell", {})
    except manifests.ManifestError:
        # The stage itself reports what is wrong with the manifest.
        cell = {}
    names = {key: cell[key] for key in CHECKPOINT_KEYS if key in cell}
    return names if "model" in names else {"model": model.absolute().parent.name}


def _check_outputs(out: list[Path]) -> None:
    """Raise UsageError if a path cannot be written, is given twice, or is a file that is not a record."""
    for path in out:
        if path.exists() and not records.is_record(path):
            raise UsageError(
                f"--out {path}: is there and no record of polycal, so it is not replaced; give another path."
            )
        parent = next(folder for folder in path.absolute().parents if folder.exists())
        if not parent.is_dir() or len(path.name.encode()) > LONGEST_NAME:
            raise UsageError(
                f"--out {path}: cannot be written there; give a name of at most {LONGEST_NAME} bytes in a folder."
            )
    if len({path.absolute() for path in out}) < len(out):
        raise UsageError("--out: a path is given twice; give one of its own for each file of questions.")


def _records(
    questions: list[Path], examples: Path | None, folder: Path, language: str | None = None
) -> dict[str, Any]:
    """The inputs ``questions`` and ``examples`` of the stage, as paths of records.

    Files that are not records yet are converted to records in ``folder``.
    """
    inputs: dict[str, Any] = {
        "questions": [_as_record(file, folder / str(n), language, "test") for n, file in enumerate(questions)]
    }
    if examples is not None:
        inputs["examples"] = _as_record(examples, folder / "examples", language, None)
    return inputs


def _as_record(file: Path, folder: Path, language: str | None, needed: str | None) -> Path:
    """The record of a file of questions: the file itself if it is a record, else a new one in ``folder``.

    A new record contains the questions of ``language``, which is needed only if the file has several
    languages. Raises RecordError if a question is not valid, or if ``needed`` is given and no question has
    this split.
    """
    from polycal.data import own_questions, placeholders

    if records.is_record(file):
        return file
    left_out: placeholders.LeftOut = {}
    questions = own_questions.read(file, left_out, language)
    if needed and not any(question["split"] == needed for question in questions):
        raise records.RecordError(f"{file}: no question of the split {needed!r}; at least one is needed.")
    counts = placeholders.counts(left_out, questions)
    if any(counts.values()):
        print(f"{file}: {sum(counts.values())} options that are 'N/A' are left out.", file=sys.stderr)
    record = folder / f"{file.stem}.parquet"
    records.write(record, questions, records.QUESTION, {"placeholders": counts})
    return record


def measure(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Score records, or folders of them, without --cell.")
    ] = None,
    cell: Annotated[str | None, typer.Option(help="JSON of all that determines the tables.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the tables, with --cell.")] = None,
    intervals: Annotated[bool, typer.Option(help="Print 95% intervals, without --cell.")] = False,
    against: Annotated[
        str | None,
        typer.Option(help="Print differences from this run on the same questions, without --cell."),
    ] = None,
    by_group: Annotated[
        bool, typer.Option(help="Print accuracy, gap and ECE by group of questions, without --cell.")
    ] = False,
    normalise: Annotated[
        str | None, typer.Option(help="sum, token, byte or pmi, without --cell; default: by candidates.")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="How to print: what differs, or every column; without --cell.")
    ] = Format.TEXT,
    sort: Annotated[
        str | None, typer.Option(help="Column to sort by, numbers from the largest down; without --cell.")
    ] = None,
    code: Code = None,
    cache_dir: CacheDir = None,
    partial: Partial = False,
) -> None:
    """Run the stage ``measure``: write tables with ``--cell``, otherwise print the metrics of records.

    Raises UsageError for options that contradict each other.
    """
    if cell and out:
        given = {"cell": cell, "out": out, "code": code, "cache_dir": cache_dir, "partial": partial}
        run(stage_commands.job(STAGES["measure"], given))
        return
    if cell or out or not files:
        raise UsageError("give score records to print their metrics, or --cell and --out to write tables.")
    paths = record_files.found(files)
    for table in _tables(paths, intervals, against, by_group, normalise):
        print(printed_tables.printed(table, form, sort))


def _tables(
    paths: list[Path], intervals: bool, against: str | None, by_group: bool, normalise: str | None
) -> Iterator["pd.DataFrame"]:
    from polycal.analysis import group_calibration, run_comparison, summary

    if not intervals and against is None and not by_group:
        yield summary.summary(paths, normalise)
    if by_group:
        yield group_calibration.by_group(paths, normalise)
    if not intervals and against is None:
        return
    measured = run_comparison.measure_files(paths, normalise)
    if intervals:
        yield run_comparison.estimates(measured)
    if against is not None:
        yield run_comparison.differences(measured, against)
