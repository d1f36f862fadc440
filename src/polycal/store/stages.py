"""The registry of stages: one entry with all properties of each stage.

The command line, the manifest schema, the titles in the report, code versions, ``polycal verify`` and the
tests read this registry. To add a stage, add an entry here, the path of its output to
``polycal.study.paths``, a rule to ``workflow/rules`` and the module with its entry function
(docs/architecture.md shows an example).
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from polycal.store import manifest_schema as schema

TRAINING = ("accelerate", "deepspeed", "tokenizers", "torch", "transformers", "triton", "trl")
INFERENCE = ("tokenizers", "torch", "transformers")
NUMBERS = ("numpy", "pandas", "pyarrow", "scipy")
DRAWING = ("itables", "jinja2", "markdown-it-py", "matplotlib", "pandas", "seaborn", "vl-convert-python")


@dataclass(frozen=True)
class Input:
    """A result of another stage that a stage reads, given on the command line as ``--NAME``.

    ``kind`` says which checksum identifies the content: ``record`` means the rows, ``checkpoint`` the
    weights. With ``many``, the input is a list of files. Their checksums are recorded under the file names
    without suffix. For a stage with ``per_language`` the list contains one file per cell. An ``optional``
    input may be left out. ``paths_of_cell`` names a function that computes the list of files from the cell,
    if the list is too long for a command line.
    """

    name: str
    kind: Literal["record", "checkpoint"]
    help: str
    many: bool = False
    optional: bool = False
    paths_of_cell: str = ""


@dataclass(frozen=True)
class Option:
    """A setting of how a job runs, which changes no result.

    It is given as ``--NAME`` or in the environment variable ``environment``. A number must be between
    ``minimum`` and ``maximum``.
    """

    name: str
    default: int | float | None
    help: str
    kind: type = int
    minimum: float = 1
    maximum: float | None = None
    environment: str | None = None


@dataclass(frozen=True)
class Stage:
    """A stage: a step of the workflow that computes one kind of result.

    Functions are named by strings ``package.module:function``, relative to ``polycal``, and imported only
    when they are needed.

    - ``entry``: the function that computes the result. It is called with the cell and, by keyword, the
      inputs, the options, ``out`` and ``stamp``. It writes ``out``. It may return the paths of further
      files below the folder of ``out``, which are cached too.
    - ``manifest``: the model that checks the manifest of the result.
    - ``output``: the name of the result in the cache; empty for a stage with ``tables_of_cell``.
    - ``runtime``: packages whose locked versions are part of the code version.
    - ``data_files``: patterns of files in the package that are part of the code version.
    - ``per_language``: a job makes several results that share a loaded model. The entry gets lists of cells,
      ``out`` and stamps, and calls ``done(number)`` after each result.
    - ``tables_of_cell``: a function that returns the names of the tables, which are written to the folder
      ``out``.
    - ``checksums``: a function that returns the checksums of all inputs, if the rule of ``Input`` is not
      enough.
    - ``whole``: a function that says whether the files described by a restored ``out`` still exist. If not,
      the stage runs again.
    - ``partial``: the command has an option ``--partial``. With it, input files that do not exist are left
      out of the inputs and given to the entry as ``missing``.
    - ``one_cell``: the result belongs to one cell of the grid. If the entry raises a CellError in a
      workflow, a failed result is written.
    - ``reads_failed``: the stage handles failed results among its inputs. All other stages fail with the
      reason of the failed input.
    """

    name: str
    title: str
    help: str
    entry: str
    manifest: type[schema.Manifest]
    inputs: tuple[Input, ...] = ()
    options: tuple[Option, ...] = ()
    output: str = ""
    runtime: tuple[str, ...] = ()
    data_files: tuple[str, ...] = ()
    per_language: bool = False
    tables_of_cell: str = ""
    checksums: str = ""
    whole: str = ""
    partial: bool = False
    one_cell: bool = False
    reads_failed: bool = False

    @property
    def modules(self) -> tuple[str, ...]:
        """The module of the entry function. It and the modules that it imports determine the code version."""
        return (self.entry.partition(":")[0],)

    @property
    def command(self) -> str:
        """The name of the stage's command, such as ``select-lr``."""
        return self.name.replace("_", "-")


def load(function: str) -> Callable[..., Any]:
    """Import and return the function that the registry names ``package.module:function``."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(f"polycal.{module}"), name)


def _of_grid(name: str, description: str, function: str) -> Input:
    """The records that a function of ``polycal.study.grid`` lists for a cell."""
    return Input(name, "record", description, many=True, paths_of_cell=f"study.grid:{function}")


MODEL = Input("model", "checkpoint", "Manifest or folder of the model.")
QUESTIONS = Input("questions", "record", "Questions of one language; repeat per language.", many=True)
INSTRUCTIONS = Input("instructions", "record", "Conversations.")

_ALL = (
    Stage(
        "measure",
        "Measured tables",
        "Accuracy, confidence and calibration of score records, with 95% intervals.",
        "analysis.measure:measure",
        schema.Measured,
        inputs=(_of_grid("scores", "Score records.", "score_records"),),
        checksums="analysis.measure:input_checksums",
        tables_of_cell="analysis.measure:table_names",
        runtime=NUMBERS,
        partial=True,
        reads_failed=True,
    ),
    Stage(
        "measure_groups",
        "Tables by group of questions",
        "Accuracy, gap and ECE by group of questions, such as a subject, with 95% intervals.",
        "analysis.group_tables:measure_groups",
        schema.Measured,
        inputs=(_of_grid("scores", "Score records.", "grouped_records"),),
        checksums="analysis.group_tables:input_checksums",
        tables_of_cell="analysis.group_tables:table_names",
        runtime=NUMBERS,
        partial=True,
        reads_failed=True,
    ),
    Stage(
        "measure_embeddings",
        "Tables of embedding diversity",
        "Diversity of prompt embeddings, and its correlation with calibration over languages.",
        "analysis.embedding_diversity:measure_embeddings",
        schema.TableManifest,
        inputs=(
            _of_grid("embeddings", "Embeddings.", "embedding_records"),
            Input("measured", "record", "The study's cells.parquet."),
        ),
        checksums="analysis.embedding_diversity:input_checksums",
        tables_of_cell="analysis.embedding_diversity:table_names",
        runtime=NUMBERS,
        partial=True,
        reads_failed=True,
    ),
    Stage(
        "measure_next_token",
        "Tables of next-token calibration",
        "Calibration of next-token predictions, with 95% intervals.",
        "analysis.next_token_metrics:measure_next_token",
        schema.TableManifest,
        inputs=(_of_grid("tokens", "Next-token scores.", "next_token_records"),),
        checksums="analysis.next_token_metrics:input_checksums",
        tables_of_cell="analysis.next_token_metrics:table_names",
        runtime=NUMBERS,
        partial=True,
        reads_failed=True,
    ),
    Stage(
        "measure_generation",
        "Tables of generated answers",
        "Accuracy and calibration of generated answers for each measure of confidence, with 95% intervals.",
        "analysis.generation_table:measure_generation",
        schema.TableManifest,
        inputs=(
            _of_grid("generations", "Answers.", "generation_records"),
            _of_grid("clusters", "Clusters of the answers by meaning.", "cluster_records"),
        ),
        checksums="analysis.generation_table:input_checksums",
        tables_of_cell="analysis.generation_table:table_names",
        runtime=NUMBERS,
        partial=True,
        reads_failed=True,
    ),
    Stage(
        "score",
        "Score records",
        "Log-likelihoods of every candidate answer, one record per language.",
        "scoring.multiple_choice:score",
        schema.Scores,
        inputs=(
            MODEL,
            QUESTIONS,
            Input("examples", "record", "Questions whose examples are shown.", optional=True),
        ),
        options=(Option("token_budget", None, "Padded tokens per batch; default: from the free memory."),),
        output="scores.parquet",
        per_language=True,
        runtime=INFERENCE,
        one_cell=True,
    ),
    Stage(
        "embed",
        "Embeddings of prompts",
        "Embeddings of a benchmark's prompts, one record per language.",
        "scoring.prompt_embeddings:embed",
        schema.ModelRows,
        inputs=(MODEL, QUESTIONS),
        output="embeddings.parquet",
        per_language=True,
        runtime=INFERENCE,
        one_cell=True,
    ),
    Stage(
        "score_next_token",
        "Scores of next tokens",
        "Predictions of every target token of held-out conversations.",
        "scoring.next_token:score_next_token",
        schema.ModelRows,
        inputs=(MODEL, INSTRUCTIONS),
        output="tokens.parquet",
        runtime=INFERENCE,
        one_cell=True,
    ),
    Stage(
        "cluster",
        "Clusters of generated answers",
        "Cluster generated answers by an entailment model, one record per language.",
        "scoring.clusters:cluster",
        schema.Scores,
        inputs=(
            Input("entailment", "checkpoint", "Manifest or folder of the entailment model."),
            QUESTIONS,
            Input("generations", "record", "Answers in one language; repeat per language.", many=True),
        ),
        output="clusters.parquet",
        per_language=True,
        runtime=INFERENCE,
        one_cell=True,
    ),
    Stage(
        "generate",
        "Generated answers",
        "Generate answers to questions without options, one record per language.",
        "scoring.generate:generate",
        schema.Scores,
        inputs=(MODEL, QUESTIONS),
        options=(Option("rows", None, "Answers per batch; default: 64 on a CPU, 512 on a GPU."),),
        output="generations.parquet",
        per_language=True,
        runtime=INFERENCE,
        one_cell=True,
    ),
    Stage(
        "select_lr",
        "Chosen learning rates",
        "Choose among the learning rates of a cell by the loss on held-out conversations.",
        "training.lr_selection:select_lr",
        schema.Selected,
        inputs=(Input("manifests", "checkpoint", "Manifest per learning rate; repeat.", many=True),),
        checksums="training.lr_selection:input_checksums",
        output="selected.json",
        one_cell=True,
        reads_failed=True,
    ),
    Stage(
        "finetune",
        "Fine-tuned checkpoints",
        "Fine-tune a model with label smoothing; continues where a run of the same cell was stopped.",
        "training.finetune:finetune",
        schema.Trained,
        inputs=(MODEL, INSTRUCTIONS),
        options=(
            Option("zero_stage", 2, "DeepSpeed ZeRO stage.", minimum=0, maximum=3),
            Option("threads", 1, "Threads per node."),
            Option("ranks", 1, "Processes per node, one per GPU."),
            Option("nodes", 1, "Nodes of the Slurm job that train together."),
            Option(
                "save_minutes",
                10.0,
                "Minutes between saves of the training state; from one minute on, more if saving would take over 3%"
                " of the time.",
                float,
                0,
                environment="POLYCAL_SAVE_MINUTES",
            ),
        ),
        output="manifest.json",
        whole="artifacts.checkpoints:is_whole",
        runtime=TRAINING,
        one_cell=True,
    ),
    Stage(
        "fetch_instructions",
        "Instruction data",
        "Download or find an instruction data set and write it as conversations.",
        "data.instructions:fetch_instructions",
        schema.Fetched,
        checksums="data.sources:input_checksums",
        output="conversations.parquet",
        runtime=("datasets", "langcodes", "pyarrow", "pycld2"),
    ),
    Stage(
        "fetch_benchmark",
        "Questions",
        "Download or find one language of a benchmark and write it as questions.",
        "data.benchmarks:fetch_benchmark",
        schema.Fetched,
        checksums="data.sources:input_checksums",
        output="questions.parquet",
        runtime=("datasets", "langcodes", "pyarrow"),
    ),
    Stage(
        "check_parallel",
        "Checks that languages ask the same questions",
        "Check that the languages of a benchmark ask the same questions.",
        "data.parallel:check_parallel",
        schema.Manifest,
        inputs=(QUESTIONS,),
        output="parallel.json",
        runtime=("pyarrow",),
    ),
    Stage(
        "fetch_model",
        "Base models",
        "Download or find a model and write its manifest.",
        "data.base_models:fetch_model",
        schema.ModelManifest,
        checksums="data.sources:input_checksums",
        output="manifest.json",
        whole="artifacts.checkpoints:is_whole",
        runtime=("gguf", "huggingface_hub", *INFERENCE),
        one_cell=True,
    ),
    Stage(
        "miniature_model",
        "Pre-training of the miniature",
        "Pre-train one of the miniature's base models; stops if it has not learned the task.",
        "miniature.base_models:miniature_model",
        schema.Pretrained,
        output="gate.json",
        runtime=INFERENCE,
    ),
    Stage(
        "miniature_data",
        "The miniature's data",
        "Write the miniature's instruction sets and benchmarks, and a manifest of their files.",
        "miniature.hub:miniature_data",
        schema.FilesManifest,
        output="data.json",
        whole="data.sources:files_are_whole",
        runtime=("numpy",),
    ),
    Stage(
        "world_benchmark",
        "The benchmark world",
        "Write the questions of the benchmark world from names and facts of CLDR, and a manifest of their files.",
        "data.world.benchmark:world_benchmark",
        schema.WorldManifest,
        output="world.json",
        whole="data.sources:files_are_whole",
        runtime=("babel",),
    ),
    Stage(
        "report",
        "Tables, figures and report",
        "Tables, figures and the report of a study, from its measured tables.",
        "report.page:report",
        schema.FilesManifest,
        inputs=(
            Input("measured", "record", "Measured table of the study; repeat.", many=True),
            _of_grid("scores", "Score records.", "score_records"),
            _of_grid("conversations", "Conversations.", "conversation_records"),
        ),
        options=(
            Option("processes", 1, "Processes that draw figures at the same time."),
            Option(
                "earlier_figures",
                None,
                "Folder of figures of earlier reports. Those with the same data are taken from there.",
                kind=Path,
            ),
        ),
        checksums="report.page:input_checksums",
        output="report.html",
        runtime=DRAWING,
        data_files=("report/templates/*",),
        reads_failed=True,
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _ALL}
"""All stages by name, in the order in which the report lists them: from the tables back to the sources."""
