"""The choice of figures for a study, and drawing all of them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import pandas as pd
from matplotlib.figure import Figure

from polycal.artifacts import files
from polycal.progress import ProgressLine
from polycal.report import captions, study_holes, study_tables
from polycal.report.figures import (
    calibration,
    common,
    inputs,
    known_truth,
    measures,
    probes,
    recalibration,
    reuse,
    runs,
    tradeoff,
    writing,
)
from polycal.report.figures.drawing import Drawing
from polycal.report.study_tables import BetaSweep, StudyTables

CAPTIONS = "captions.md"
"""File with the caption of each figure. It is written without figures too, so the folder always exists."""

LONGEST_NAME = 220
"""Longest file name without suffix, in characters.

File systems allow 255, and unfinished files have longer names.
"""

FIGURES_PER_PROCESS = 8
"""Fewer are drawn sooner without a process of their own, because each process first imports matplotlib."""

Shown = tuple[str, ...]
"""What a figure shows: its kind, then the names of its contents."""
Drawings = dict[Shown, Drawing]


def drawings(study: StudyTables) -> dict[str, Drawing]:
    """All figures that the study's tables allow, by file name without suffix.

    Of several trainings, the figures show the mean, or the first where a table has no means. Figures about several
    models and data sets are drawn for each combination of base seed, recipe and seed that is left.
    """
    parts, first = study.by_condition(), study.of_first_trainings()
    figures: Drawings = {}
    for part in parts:
        figures |= _of_benchmarks(part)
    for part in first:
        figures |= _of_truth(part)
    figures |= _of_sweeps(study) | _of_measures(study) | _of_runs(study)
    for part in first:
        figures |= _of_embeddings(part) | _of_next_tokens(part)
    for part in parts:
        figures |= _of_mixtures(part)
    return dict(zip(file_names(list(figures)), figures.values(), strict=True))


def file_names(shown: Sequence[Shown]) -> list[str]:
    """One file name per figure: the words of what it shows, joined by hyphens.

    Words contain hyphens themselves, so different words can give the same name. A checksum of the words is
    added to such names, and to names that differ only in upper and lower case. Names that are too long are
    cut before the checksum.
    """
    joined = ["-".join(words) for words in shown]
    counts = Counter(name.lower() for name in joined)
    names = []
    for name, words in zip(joined, shown, strict=True):
        if counts[name.lower()] > 1 or len(name) > LONGEST_NAME:
            checksum = hashlib.sha256("/".join(words).encode()).hexdigest()[:8]
            name = f"{name[: LONGEST_NAME - len(checksum) - 1]}-{checksum}"
        names.append(name)
    return names


def _of_sweep(
    study: StudyTables,
    function: Callable[..., Figure],
    sweep: BetaSweep,
    holes: pd.DataFrame,
    *further: object,
) -> Drawing:
    """A figure of a sweep, with a note about the cells among ``holes``, which it cannot show."""
    own = inputs.of_sweep(study, function, sweep)
    return Drawing(function, own, (sweep, *further), holes, study_tables.distinguishing(holes))


def _of_benchmark(
    study: StudyTables, function: Callable[..., Figure], benchmark: str, holes: pd.DataFrame, *further: object
) -> Drawing:
    """A figure of a benchmark, with a note about the cells among ``holes``, which it cannot show."""
    own = inputs.of_benchmark(study, function, benchmark)
    return Drawing(function, own, (benchmark, *further), holes, study_tables.distinguishing(holes))


def _of_benchmarks(study: StudyTables) -> Drawings:
    """Figures with all models and data sets of a benchmark and protocol."""
    figures: Drawings = {}
    for benchmark, protocol in study.scored_with():
        holes = study_holes.of_scores(study, benchmark, protocol)
        for words, data in _overviews(study, benchmark, protocol):
            figures["overview", *study.condition.values(), *words] = _of_benchmark(
                study, calibration.overview, benchmark, holes, protocol, data
            )
        kinds = {
            "confidence": calibration.confidence_and_accuracy,
            "beta": tradeoff.mean_ece_and_accuracy,
        }
        if len(study.get("recalibration")):
            kinds["recalibration"] = recalibration.mean_ece
        for kind, figure in kinds.items():
            figures[kind, *study.condition.values(), benchmark, protocol] = _of_benchmark(
                study, figure, benchmark, holes, protocol
            )
    return figures


def _of_truth(study: StudyTables) -> Drawings:
    """Figures of all models and data sets of a benchmark and protocol against the known truth."""
    figures: Drawings = {}
    truth = study.get("truth")
    for benchmark, protocol in study.scored_with():
        if len(truth) and ((truth.benchmark == benchmark) & (truth.protocol == protocol)).any():
            holes = study_holes.of_scores(study, benchmark, protocol)
            figures["truth", *study.condition.values(), benchmark, protocol] = _of_benchmark(
                study, known_truth.against_truth, benchmark, holes, protocol
            )
    return figures


def _overviews(study: StudyTables, benchmark: str, protocol: str) -> Iterator[tuple[Shown, str | None]]:
    """Names and data set of each overview: one for all data sets, or one each if languages are many."""
    sweeps = study.beta_sweeps(benchmark, protocol)
    languages = {code for sweep in sweeps for code in study.rows_with_holes("cells", sweep).language}
    if len(languages) <= common.MANY_LANGUAGES:
        yield (benchmark, protocol), None
        return
    for data in sorted({sweep.data for sweep in sweeps}):
        yield (benchmark, protocol, data), data


def _of_sweeps(study: StudyTables) -> Drawings:
    figures: Drawings = {}
    whole = study.with_training_means()
    for sweep, first in study.shown_sweeps().items():
        holes, names = study_holes.of_sweep(whole, sweep), _words(study, sweep)
        figures["ece", *names] = _of_sweep(whole, calibration.ece_by_language, sweep, holes)
        for words, languages in _numbered(_words(study, first), calibration.diagram_parts(study, first)):
            figures["reliability", *words] = _of_sweep(
                study, calibration.reliability, first, study_holes.of_sweep(study, first), languages
            )
        for kind, function in _further_of_sweep(whole, sweep):
            figures[kind, *names] = _of_sweep(whole, function, sweep, holes)
    return figures


def _words(study: StudyTables, sweep: BetaSweep) -> Shown:
    return (sweep.model, sweep.data, *study.condition_of(sweep).values(), sweep.benchmark, sweep.protocol)


def _further_of_sweep(study: StudyTables, sweep: BetaSweep) -> Iterator[tuple[str, Callable[..., Figure]]]:
    """Kind and function of each figure that not every sweep has."""
    if study.rows("cells", sweep).beta.nunique() > 2:
        yield "tradeoff", tradeoff.ece_and_accuracy
    if len(study.get("recalibration")):
        yield "temperature", recalibration.ece_by_language


def _of_measures(study: StudyTables) -> Drawings:
    """Figures of the measures of confidence in chosen options, and of those in generated answers."""
    figures: Drawings = {}
    whole, means = study.with_training_means(), study.over_trainings()
    for table, prefix, holes_table in (
        ("confidences", "measure", "holes"),
        ("generation", "generated", "generation_holes"),
    ):
        for sweep in means.beta_sweeps(table=table) if len(study.get(table)) else []:
            holes, names = study_holes.of_sweep(whole, sweep, holes_table), _words(study, sweep)
            for kind, function, shown in (
                ("gap", measures.gap_by_language, measures.has_languages),
                ("auroc", measures.auroc_by_level, measures.has_means),
            ):
                if shown(whole, sweep, table):
                    figures[prefix + kind, *names] = _of_sweep(whole, function, sweep, holes, table)
    return figures


def _numbered(words: Shown, parts: Sequence[list[str]]) -> Iterator[tuple[Shown, list[str]]]:
    """The names and the contents of each part of a figure. A figure that is not divided has no number."""
    for number, part in enumerate(parts, 1):
        yield (*words, *([f"part-{number}"] if len(parts) > 1 else [])), part


def _of_runs(study: StudyTables) -> Drawings:
    """Figures of the untuned runs of score records without a grid."""
    figures: Drawings = {}
    if not study.of_records:
        return figures
    kinds = {
        "rungap": runs.gap_by_language,
        "runece": runs.ece_by_language,
        "runreliability": runs.reliability,
    }
    scored = (
        study["cells"][["benchmark", "protocol"]].drop_duplicates().sort_values(["benchmark", "protocol"])
    )
    for benchmark, protocol in scored.itertuples(index=False, name=None):
        for words, names in _numbered((benchmark, protocol), runs.parts(study, benchmark, protocol)):
            for kind, figure in kinds.items():
                own = inputs.of_benchmark(study, figure, benchmark)
                figures[kind, *words] = Drawing(figure, own, (benchmark, protocol, names))
    return figures


def _of_embeddings(study: StudyTables) -> Drawings:
    if "diversity" not in study.tables:
        return {}
    benchmarks = sorted(set(study["diversity"].benchmark))
    return {
        ("diversity", *study.condition.values(), benchmark): _of_benchmark(
            study, probes.diversity, benchmark, study_holes.of_embeddings(study, benchmark)
        )
        for benchmark in benchmarks
    }


def _of_next_tokens(study: StudyTables) -> Drawings:
    if "next_token" not in study.tables:
        return {}
    heldout = sorted(set(study["next_token"].benchmark))
    return {
        ("nexttoken", *study.condition.values(), name): _of_benchmark(
            study, probes.next_tokens, name, study_holes.of_next_tokens(study, name)
        )
        for name in heldout
    }


def _of_mixtures(study: StudyTables) -> Drawings:
    figures: Drawings = {}
    sweeps = study.beta_sweeps()
    for model, benchmark, protocol in sorted({(s.model, s.benchmark, s.protocol) for s in sweeps}):
        of_model = [s for s in sweeps if (s.model, s.benchmark, s.protocol) == (model, benchmark, protocol)]
        if len(probes.mixtures(of_model)) > 1:
            holes = study_holes.of_model(study, model, benchmark, protocol)
            names = ("ablation", *study.condition.values(), model, benchmark, protocol)
            own = inputs.of_benchmark(study, probes.ablation, benchmark)
            figures[names] = Drawing(
                probes.ablation, own, (model, benchmark, protocol), holes, study_tables.distinguishing(holes)
            )
    return figures


def draw(study: StudyTables, folder: Path, processes: int = 1, earlier: Path | None = None) -> list[Path]:
    """Write the figures of ``drawings`` to ``folder`` as SVG, PDF and PNG, and captions; returns the PNG files.

    Up to ``processes`` draw figures at the same time, FIGURES_PER_PROCESS or more each. The bytes of a figure do not
    depend on their number. The folder ``earlier`` contains figures by key (``reuse``): those that are there are not drawn, and new ones are stored there.
    Raises WorkerError if a process is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = drawings(study)
    keys = {name: reuse.key(drawing) for name, drawing in figures.items()} if earlier else {}
    todo = [name for name in figures if not (earlier and reuse.restore(earlier, keys[name], folder / name))]
    if len(todo) < len(figures):
        print(
            f"figures: {len(figures) - len(todo)} of {len(figures)} are as in an earlier report", flush=True
        )
    progress = ProgressLine("drawing", len(todo), "figures")
    for name in _drawn(study, figures, todo, folder, processes):
        if earlier:
            reuse.store(earlier, keys[name], folder / name)
        progress(1)
    written = [folder / f"{name}.png" for name in figures]
    files.write_text(folder / CAPTIONS, _captions(written))
    return written


def _drawn(
    study: StudyTables, figures: writing.Figures, todo: Sequence[str], folder: Path, processes: int
) -> Iterable[str]:
    """Write the figures ``todo``; yields the name of each."""
    processes = min(processes, len(todo) // FIGURES_PER_PROCESS)
    if processes > 1:
        return writing.in_processes(drawings, study, todo, folder, processes)
    return writing.one_by_one({name: figures[name] for name in todo}, folder)


def _captions(figures: list[Path]) -> str:
    if not figures:
        return "This study has no figures: it has no tuned checkpoint.\n"
    kinds = captions.FIGURE_KINDS
    lines = [
        f"**{path.stem}.** {kinds[captions.kind_of(path.stem)].title}."
        f" {kinds[captions.kind_of(path.stem)].caption}\n"
        for path in figures
    ]
    return "\n".join(lines)
