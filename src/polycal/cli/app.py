"""The command ``polycal``: each stage by hand, with the words that the rules use."""

import errno
import gc
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from polycal.artifacts import records
from polycal.cli import audit
from polycal.store import attempts, cache, code_versions, locks

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="How instruction tuning changes the calibration of language models across languages.",
)

# no name: its commands stand beside the stages
app.add_typer(audit.app)

Cell = Annotated[str, typer.Option(help="JSON of all that determines the result.")]
Code = Annotated[str | None, typer.Option(help="Class of the stage's code; default: as it stands.")]
Kept = Annotated[Path | None, typer.Option("--kept", help="Folder of finished work to hand out again.")]
Out = Annotated[Path, typer.Option(help="File to write.")]


def _code(stage: str, given: str | None) -> str:
    """The class of a stage's code; one that was planned must still be the one that runs."""
    now = code_versions.code_class(stage)[0]
    if given not in (None, now):
        raise code_versions.VersionError(
            f"{stage}: planned with code version {given}, but the code is at {now}; start the workflow again."
        )
    return now


def _obtain(
    stage: str,
    cell: Mapping[str, Any],
    code: str,
    reads: Mapping[str, str],
    outputs: Mapping[str, Path],
    kept_folder: Path | None,
    make: Callable[[dict[str, Any]], Iterable[Path] | None],
    folder: Path = Path(),
) -> bool:
    """``cache.obtain`` by one process at a time; here, so that an edit of the lock changes no result's version."""

    def counted(note: dict[str, Any]) -> Iterable[Path] | None:
        with attempts.Attempt(kept_folder, note["fingerprint"]) as attempt:
            return make({**note, **attempt.earlier})

    with locks.hold(stage, *outputs.values()):
        return cache.obtain(stage, cell, code, reads, outputs, kept_folder, counted, folder)


def _obtain_each(
    stage: str,
    cells: list[dict[str, Any]],
    code: str,
    reads: list[dict[str, str]],
    outputs: list[Path],
    role: str,
    kept_folder: Path | None,
    make: Callable[[list[int], list[dict[str, Any]], Callable[[int], None]], None],
) -> None:
    """Several records of one job: those kept are handed out, the others made together and kept one by one.

    ``make(todo, notes, done)`` writes the records numbered ``todo`` and calls ``done(place)`` after each;
    they are kept as ``role``, whatever their own names.
    """
    roles = [{role: path} for path in outputs]
    with locks.hold(stage, *outputs):
        todo = [
            number
            for number, cell in enumerate(cells)
            if kept_folder is None
            or not cache.handed_out(kept_folder, stage, cell, code, reads[number], roles[number])
        ]
        if not todo:
            return
        from polycal.store import provenance

        keys = {number: cache.fingerprint(cells[number], code, reads[number]) for number in todo}
        notes = [provenance.note(stage, cells[n], keys[n], reads[n]) for n in todo]
        running = [attempts.Attempt(kept_folder, keys[todo[0]])]
        notes[0] |= running[0].earlier

        def done(place: int) -> None:
            number = todo[place]
            if kept_folder is not None:
                cache.keep(kept_folder, keys[number], roles[number])
                cache.journal(kept_folder, "computed", stage, cells[number], keys[number])
            running.pop().done()
            if place + 1 < len(todo):
                running.append(attempts.Attempt(kept_folder, keys[todo[place + 1]]))
                notes[place + 1] |= running[0].earlier

        try:
            make(todo, notes, done)
        except BaseException:
            for attempt in running:
                attempt.failed()
            raise


@app.command("fetch-model")
def fetch_model(cell: Cell, out: Out, code: Code = None, kept_folder: Kept = None) -> None:
    """Download or find a model and write its manifest."""
    from polycal.data import sources

    told = json.loads(cell)
    _obtain(
        "fetch_model",
        told,
        _code("fetch_model", code),
        sources.reads(told),
        {"manifest.json": out},
        kept_folder,
        lambda note: sources.fetch_model(told, out, note),
    )


@app.command("fetch-instructions")
def fetch_instructions(cell: Cell, out: Out, code: Code = None, kept_folder: Kept = None) -> None:
    """Download or find an instruction data set and write it as conversations."""
    from polycal.data import instructions, sources

    told = json.loads(cell)
    _obtain(
        "fetch_instructions",
        told,
        _code("fetch_instructions", code),
        sources.reads(told),
        {"conversations.parquet": out},
        kept_folder,
        lambda note: instructions.fetch(told, out, note),
    )


@app.command("fetch-benchmark")
def fetch_benchmark(cell: Cell, out: Out, code: Code = None, kept_folder: Kept = None) -> None:
    """Download or find one language of a benchmark and write it as questions."""
    from polycal.data import benchmarks, sources

    told = json.loads(cell)
    _obtain(
        "fetch_benchmark",
        told,
        _code("fetch_benchmark", code),
        sources.reads(told),
        {"questions.parquet": out},
        kept_folder,
        lambda note: benchmarks.fetch(told, out, note),
    )


@app.command("miniature-data")
def miniature_data(cell: Cell, out: Out, code: Code = None, kept_folder: Kept = None) -> None:
    """Write the miniature's instruction sets and benchmarks, and a manifest of their files."""
    from polycal.data import sources
    from polycal.miniature import base_models
    from polycal.store import provenance

    told, folder = json.loads(cell), out.parent

    def make(note: dict[str, Any]) -> None:
        base_models.build_data(told, folder, note)
        files = sorted(p for part in ("data", "benchmarks", "truth") for p in (folder / part).rglob("*.*"))
        files.write_json(out, {**provenance.closed(note), "files": sources.checksums(files, folder)})

    role = {"data.json": out}
    if not _obtain("miniature_data", told, _code("miniature_data", code), {}, role, kept_folder, make):
        # only the manifest is kept: the files are made again where one is missing or another
        written = json.loads(out.read_text())["files"]
        there = [folder / name for name in written if (folder / name).is_file()]
        if sources.checksums(there, folder) != written:
            _obtain("miniature_data", told, _code("miniature_data", code), {}, role, None, make)


@app.command("miniature-model")
def miniature_model(cell: Cell, out: Out, code: Code = None, kept_folder: Kept = None) -> None:
    """Pre-train one of the miniature's base models; stops where it has not learned the task."""
    from polycal.miniature import base_models

    told, folder = json.loads(cell), out.parent
    files = {name: folder / name for name in base_models.MODEL_FILES}
    _obtain(
        "miniature_model",
        told,
        _code("miniature_model", code),
        {},
        files,
        kept_folder,
        lambda note: base_models.build_model(told, folder, note),
    )


@app.command()
def finetune(
    cell: Cell,
    model: Annotated[Path, typer.Option(help="Manifest of the base model.")],
    instructions: Annotated[Path, typer.Option(help="Conversations to train on.")],
    out: Out,
    code: Code = None,
    kept_folder: Kept = None,
    zero_stage: Annotated[
        int, typer.Option(min=0, max=3, help="DeepSpeed ZeRO stage; changes no result.")
    ] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads on a node.")] = 1,
    ranks: Annotated[int, typer.Option(min=1, help="Processes on a node, one a GPU.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of the Slurm job that train together.")] = 1,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between saves of the state.")] = 10,
) -> None:
    """Fine-tune a model with label smoothing; goes on where a run of the same cell was stopped."""
    from polycal.artifacts import checkpoints
    from polycal.training import batches

    told, role = json.loads(cell), {"manifest.json": out}
    base, rows = checkpoints.read(model).content, records.metadata(instructions)["content"]
    reads = {"model": base, "instructions": rows}
    batches.settings_split(told["settings"], ranks * nodes)

    def make(note: dict[str, Any]) -> None:
        share = max(threads // ranks, 1)
        how: dict[str, Any] = {
            "note": note,
            "zero_stage": zero_stage,
            "threads": share,
            "save_minutes": save_minutes,
        }
        if ranks * nodes == 1:
            from polycal.training import finetune as training

            training.finetune(told, model=model, instructions=instructions, out=out, **how)
            return
        from polycal.training import launcher

        files = {"model": str(model), "instructions": str(instructions), "out": str(out)}
        words = [
            sys.executable,
            "-m",
            "polycal.training.finetune",
            json.dumps({"cell": told, **files, **how}),
        ]
        if code := launcher.over_nodes(words, ranks, nodes, out.parent, threads):
            raise SystemExit(code)

    def whole() -> bool:
        try:
            return bool(checkpoints.read(out))
        except checkpoints.CheckpointError:
            return False

    version = _code("finetune", code)
    # only the manifest is kept; where the weights beside it are gone, they are trained again
    if not _obtain("finetune", told, version, reads, role, kept_folder, make) and not whole():
        _obtain("finetune", told, version, reads, role, None, make)


@app.command("select-lr")
def select_lr(
    manifests: Annotated[list[Path], typer.Argument(help="A manifest for each learning rate of the cell.")],
    cell: Cell,
    out: Out,
    code: Code = None,
    kept_folder: Kept = None,
) -> None:
    """Choose among the learning rates of a cell by the loss on held-out conversations."""
    from polycal.artifacts import checkpoints
    from polycal.training import lr_selection

    told = json.loads(cell)
    losses = lr_selection.held_out(told["learning_rates"], manifests)
    # the loss beside the weights: it is what the choice stands on
    reads = {
        rate: f"{checkpoints.read(path).content} {loss}"
        for (rate, loss), path in zip(losses.items(), manifests, strict=True)
    }
    _obtain(
        "select_lr",
        told,
        _code("select_lr", code),
        reads,
        {"selected.json": out},
        kept_folder,
        lambda note: lr_selection.select(told, manifests, out, note),
    )


@app.command("check-parallel")
def check_parallel(
    files: list[Path], cell: Cell, out: Out, code: Code = None, kept_folder: Kept = None
) -> None:
    """Check that the languages of a benchmark ask the same questions."""
    from polycal.data import benchmarks
    from polycal.store import provenance

    _obtain(
        "check_parallel",
        json.loads(cell),
        _code("check_parallel", code),
        {path.stem: records.metadata(path)["content"] for path in files},
        {"parallel.json": out},
        kept_folder,
        lambda note: files.write_json(out, {**provenance.closed(note), **benchmarks.check_parallel(files)}),
    )


@app.command()
def score(
    model: Annotated[Path, typer.Option(help="Model folder or manifest.")],
    questions: Annotated[list[Path], typer.Option(help="File of questions; once for each language.")],
    out: Annotated[list[Path], typer.Option(help="Record to write; once for each file of questions.")],
    cells: Annotated[str | None, typer.Option(help="JSON list: all that determines each record.")] = None,
    candidates: Annotated[str, typer.Option(help="letters or texts, without --cells.")] = "letters",
    num_fewshot: Annotated[int, typer.Option(min=0, help="Examples before a question, without --cells.")] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16, without --cells.")] = "float32",
    attention: Annotated[
        str, typer.Option(help="sdpa, eager or flash_attention_2, without --cells.")
    ] = "sdpa",
    pmi: Annotated[
        bool, typer.Option(help="Candidates after a neutral context too, without --cells.")
    ] = False,
    chat_template: Annotated[str | None, typer.Option(help="Chat format, without --cells.")] = None,
    examples: Annotated[Path | None, typer.Option(help="Questions whose examples are shown.")] = None,
    token_budget: Annotated[
        int | None, typer.Option(min=1, help="Padded tokens a batch; default: found.")
    ] = None,
    code: Code = None,
    kept_folder: Kept = None,
) -> None:
    """Log-likelihoods of every candidate answer, one record a language."""
    if len(questions) != len(out):
        raise records.RecordError(
            f"{len(questions)} files of questions but {len(out)} outputs; give one for each."
        )
    from polycal.artifacts import checkpoints

    asking: dict[str, Any] = {
        "candidates": candidates,
        "num_fewshot": num_fewshot,
        "pmi": pmi,
        "chat_template": chat_template,
    }
    told = json.loads(cells) if cells else _by_hand(model, questions, asking, dtype, attention)
    version, checkpoint = _code("score", code), checkpoints.read(model)
    extra = {"examples": records.metadata(examples)["content"]} if examples else {}
    reads = [
        {"model": checkpoint.content, "questions": records.metadata(file)["content"], **extra}
        for file in questions
    ]

    def make(todo: list[int], notes: list[dict[str, Any]], done: Callable[[int], None]) -> None:
        from polycal.scoring import multiple_choice

        multiple_choice.score(
            [told[n] for n in todo],
            checkpoint=checkpoint,
            questions=[questions[n] for n in todo],
            out=[out[n] for n in todo],
            notes=notes,
            examples=examples,
            token_budget=token_budget,
            done=done,
        )

    _obtain_each("score", told, version, reads, out, "scores.parquet", kept_folder, make)


def _by_hand(
    model: Path, questions: list[Path], asking: dict[str, Any], dtype: str, attention: str
) -> list[dict[str, Any]]:
    allowed = {
        "candidates": ("letters", "texts"),
        "dtype": ("float32", "bfloat16"),
        "attention": ("sdpa", "eager", "flash_attention_2"),
    }
    given = {"candidates": asking["candidates"], "dtype": dtype, "attention": attention}
    for key, value in given.items():
        if value not in allowed[key]:
            from polycal.study.config import ConfigError

            raise ConfigError(f"--{key}: {value!r} is refused: must be {' or '.join(allowed[key])}.")
    settings = {**asking, **given}
    name = model.parent.name if model.is_file() else model.name
    return [
        {
            "stage": "score",
            "model": name,
            "benchmark": file.parent.name,
            "language": file.stem,
            "settings": settings,
        }
        for file in questions
    ]


@app.command()
def measure(
    files: Annotated[list[Path] | None, typer.Argument(help="Score records; without --cell.")] = None,
    cell: Annotated[str | None, typer.Option(help="JSON of conventions and grid.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the tables; else the metrics are printed.")
    ] = None,
    code: Code = None,
    kept_folder: Kept = None,
    partial: Annotated[bool, typer.Option(help="Leave out records that are not there.")] = False,
) -> None:
    """Accuracy, confidence and calibration of score records, with 95% intervals."""
    from polycal.analysis import known_truth
    from polycal.analysis import measure as statistics
    from polycal.study import grid

    told: dict[str, Any] = json.loads(cell) if cell else {"settings": {}}
    paths = [Path(p) for p in grid.scores(told["grid"])] if cell else files or []
    if partial:
        paths = [path for path in paths if path.exists()]
    if not paths:
        raise records.RecordError("no score records given; name at least one file.")
    if out is None:
        print(statistics.summary(paths).round(4).to_string(index=False))
        return
    notes = {str(path): records.metadata(path) for path in paths}
    reads = {path: note["content"] for path, note in notes.items()}
    if known := told["settings"].get("truth"):
        asked = {(note["cell"]["benchmark"], note["cell"]["language"]) for note in notes.values()}
        for one in sorted(known_truth.file(known, b, language) for b, language in asked if b in known):
            reads[str(one)] = files.sha256(one)
    _obtain(
        "measure",
        told,
        _code("measure", code),
        reads,
        {f"{name}.parquet": out / f"{name}.parquet" for name in statistics.names(told["settings"])},
        kept_folder,
        lambda note: statistics.measure(paths, settings=told["settings"], out=out, note=note),
    )


@app.command()
def embed(
    model: Annotated[Path, typer.Option(help="Model folder or manifest.")],
    questions: Annotated[list[Path], typer.Option(help="File of questions; once for each language.")],
    out: Annotated[list[Path], typer.Option(help="Record to write; once for each file of questions.")],
    cells: Annotated[str, typer.Option(help="JSON list: all that determines each record.")],
    code: Code = None,
    kept_folder: Kept = None,
) -> None:
    """Embeddings of a benchmark's prompts, one record a language."""
    from polycal.artifacts import checkpoints

    told: list[dict[str, Any]] = json.loads(cells)
    if not len(told) == len(questions) == len(out):
        raise records.RecordError(
            f"{len(told)} cells, {len(questions)} files of questions, {len(out)} outputs; give one for each."
        )
    version, content = _code("embed", code), checkpoints.read(model).content
    reads = [{"model": content, "questions": records.metadata(file)["content"]} for file in questions]

    def make(todo: list[int], notes: list[dict[str, Any]], done: Callable[[int], None]) -> None:
        from polycal.scoring import prompt_embeddings

        prompt_embeddings.embed(
            [told[n] for n in todo],
            model=model,
            questions=[questions[n] for n in todo],
            out=[out[n] for n in todo],
            notes=notes,
            done=done,
        )

    _obtain_each("embed", told, version, reads, out, "embeddings.parquet", kept_folder, make)


@app.command()
def diversity(
    measured: Annotated[Path, typer.Option(help="The study's cells.parquet.")],
    cell: Cell,
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    code: Code = None,
    kept_folder: Kept = None,
) -> None:
    """Diversity of prompt embeddings, and its correlation with calibration over languages."""
    from polycal.analysis import embedding_diversity as measures
    from polycal.study import grid

    told = json.loads(cell)
    paths = [Path(p) for p in grid.embedded(told["grid"], told["embeddings"])]
    reads = {str(path): records.metadata(path)["content"] for path in paths}
    reads["cells"] = measures.content(measured)
    _obtain(
        "diversity",
        told,
        _code("diversity", code),
        reads,
        {f"{name}.parquet": out / f"{name}.parquet" for name in measures.TABLES},
        kept_folder,
        lambda note: measures.measure(paths, measured, settings=told["settings"], out=out, note=note),
    )


@app.command("next-token")
def next_token(
    model: Annotated[Path, typer.Option(help="Model folder or manifest.")],
    instructions: Annotated[Path, typer.Option(help="Conversations, of which those held out are read.")],
    cell: Cell,
    out: Out,
    code: Code = None,
    kept_folder: Kept = None,
) -> None:
    """Predictions of every target token of held-out conversations."""
    from polycal.artifacts import checkpoints

    told = json.loads(cell)
    reads = {
        "model": checkpoints.read(model).content,
        "instructions": records.metadata(instructions)["content"],
    }

    def make(note: dict[str, Any]) -> None:
        from polycal.scoring import next_token as nexttoken

        nexttoken.score(told, model=model, instructions=instructions, out=out, note=note)

    role = {"tokens.parquet": out}
    _obtain("next_token", told, _code("next_token", code), reads, role, kept_folder, make)


@app.command()
def tokens(
    cell: Cell,
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    code: Code = None,
    kept_folder: Kept = None,
) -> None:
    """Calibration of next-token predictions, with 95% intervals."""
    from polycal.analysis import next_token_metrics as measures
    from polycal.study import grid

    told = json.loads(cell)
    paths = [Path(p) for p in grid.next_tokens(told["grid"], told["heldout"])]
    _obtain(
        "tokens",
        told,
        _code("tokens", code),
        {str(path): records.metadata(path)["content"] for path in paths},
        {f"{name}.parquet": out / f"{name}.parquet" for name in measures.TABLES},
        kept_folder,
        lambda note: measures.measure(paths, settings=told["settings"], out=out, note=note),
    )


@app.command()
def present(
    cell: Cell,
    study: Annotated[Path, typer.Option(help="Folder of the study's measured tables.")],
    code: Code = None,
    kept_folder: Kept = None,
) -> None:
    """Tables, figures and the report of a study, from its measured tables."""
    from polycal.report import best_beta, page, provenance_section, sensitivity_table, study_tables, tables
    from polycal.report.figures import draw, probes
    from polycal.study import grid

    told = json.loads(cell)
    found, nodes = study_tables.read(study, told["languages"]), provenance_section.behind(study)

    def make(note: dict[str, Any]) -> list[Path]:
        for folder in ("tables", "figures"):
            # what another configuration of this study drew
            shutil.rmtree(study / folder, ignore_errors=True)
        tables.write(found, study / "tables", sensitivity_table.tables(found))
        best_beta.write(found, study / "tables")
        shown = draw.draw(
            found, study / "figures", sensitivity_table.drawings(found) | probes.drawings(found)
        )
        paths = [Path(p) for p in grid.scores(told["grid"])]
        data = [Path(p) for p in grid.conversations(told["grid"])]
        print(f"present: {page.write(found, study, paths, shown, told, data, nodes)}", flush=True)
        sealed = provenance_section.seal(study, note, nodes, told)
        return [*sealed, *(p for folder in ("tables", "figures") for p in sorted((study / folder).iterdir()))]

    _obtain(
        "present",
        told,
        _code("present", code),
        provenance_section.reads(study, nodes),
        {"report.html": study / "report.html"},
        kept_folder,
        make,
        study,
    )


@app.command()
def publish(
    study: Annotated[Path, typer.Option(help="Folder of a finished study.")],
    out: Annotated[Path, typer.Option(help="Folder of what is shown.")] = Path("results/reference"),
    readme: Annotated[Path, typer.Option(help="File with the marks for the table.")] = Path("README.md"),
) -> None:
    """Put a study's overview and table where readers see them first, with their provenance."""
    from polycal.analysis import score_arrays
    from polycal.report import publish as publication
    from polycal.report import study_tables
    from polycal.study import grid

    found = study_tables.read(study, {})
    cells = found["cells"][list(score_arrays.CELL)].itertuples(index=False, name=None)
    sources = [Path(grid.SCORES.format(**dict(zip(score_arrays.CELL, cell, strict=True)))) for cell in cells]
    for path in publication.publish(found, study, sources, out, readme):
        print(path)


@app.command("provenance")
def provenance_of(
    file: Annotated[Path, typer.Argument(help="Table, figure, report, record or checkpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole chain with all notes.")] = False,
) -> None:
    """The way of a result back to its sources, every checksum on it taken again; fails on a broken link."""
    from polycal.audit import lineage

    index = lineage.ArtifactIndex(file)
    nodes = lineage.trace(index, index.owner(file))
    if as_json:
        print(json.dumps(lineage.as_json(index, nodes), indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print(lineage.as_text(nodes))
    if sentence := lineage.broken(nodes):
        raise lineage.LineageError(sentence)


# what the libraries that write files by themselves, safetensors and PyTorch, say of a full disk
NO_ROOM = ("No space left on device", "Disk quota exceeded", "iostream error", "unexpected pos")


def _no_room(error: Exception) -> bool:
    """Whether a file could not be written whole because the disk is full, or its owner's share of it."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return type(error).__name__ in ("RuntimeError", "SafetensorError") and any(
        words in str(error) for words in NO_ROOM
    )


def main() -> None:
    """Run a command; what is wrong with its input is said in one sentence, without a traceback."""
    try:
        app()
    except Exception as error:
        if _no_room(error):
            raise SystemExit(
                "polycal: the disk is full; make room and start again, what was finished is kept."
            ) from None
        # every error of this package is a ValueError whose message is for the reader
        if type(error).__module__.split(".")[0] != "polycal":
            raise
        raise SystemExit(f"polycal: {error}") from None
    finally:
        # a Parquet stream that outlives the interpreter aborts it after the work is done (apache/arrow 45214)
        gc.collect()
