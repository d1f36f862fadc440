"""The configuration of a study as Pydantic models, with the checks that involve several keys.

Catalogues (models, data, benchmarks, languages, recipes, protocols) map names to entries. A later file adds
entries to them. The lists under ``grid`` name the entries that run. A later file replaces these lists.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from polycal.artifacts.candidate_forms import P_TRUE
from polycal.scoring.prompt_labels import LABELS
from polycal.study import paths
from polycal.study.config_catalogues import Benchmark, Data, Language, Model, Protocol, Recipe
from polycal.study.config_values import (
    ChatTemplate,
    Name,
    Names,
    Normalisation,
    Positive,
    PositiveShare,
    PromptLanguage,
    QuestionTemplate,
    Seed,
    Share,
    Strict,
    no_duplicates,
)
from polycal.study.generation_checks import check_generation
from polycal.study.miniature_checks import check_miniature
from polycal.study.name_lengths import check_block
from polycal.study.suggestions import require_known
from polycal.study.training_checks import check_training

SUMMARIES = ("all", "mean", "unknown")
"""Values of the column ``language`` in tables that name no language: summaries, and rows of unknown language."""
TRUTH = "truth"
"""Value of the column ``model`` in tables of a miniature for the true distribution of answers."""


class Block(Strict):
    """Lists whose combinations run: each model with each data set, recipe, β, seed, benchmark and protocol."""

    models: Names = Field(min_length=1, description="Base models.")
    base_seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(no_duplicates)] = Field(
        ["0"], description="Seeds for building the base models of the miniature; other models have none."
    )
    data: Names = Field(description="Instruction data sets. An empty list: only base models are scored.")
    recipes: Names = Field(description="Training recipes.")
    betas: Annotated[list[Share], AfterValidator(no_duplicates)] = Field(
        description="Values of the label smoothing β, in [0, 1)."
    )
    seeds: Annotated[list[Seed], AfterValidator(no_duplicates)] = Field(description="Training seeds.")
    benchmarks: Names = Field(min_length=1, description="Benchmarks.")
    protocols: Names = Field(min_length=1, description="Protocols with which the benchmarks are scored.")
    languages: Annotated[Names, Field(min_length=1)] | None = Field(
        None, description="The languages that are scored; null: all languages of each benchmark."
    )


class Grid(Block):
    """The combinations that run."""

    extra: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Further combinations. Each gives only the lists in which it differs from the grid.",
    )

    def blocks(self) -> list[Block]:
        """The lists of the grid itself, then those of each entry of ``extra``."""
        first = self.model_dump(exclude={"extra"})
        return [Block(**first), *(Block(**{**first, **changes}) for changes in self.extra)]

    def blocks_by_key(self) -> dict[str, Block]:
        """The blocks by their keys in the configuration: ``grid``, ``grid.extra[0]`` and so on."""
        first, *extra = self.blocks()
        return {"grid": first, **{f"grid.extra[{number}]": block for number, block in enumerate(extra)}}

    @model_validator(mode="after")
    def _extra(self) -> Self:
        first = self.model_dump(exclude={"extra"})
        for number, changes in enumerate(self.extra):
            try:
                Block(**{**first, **changes})
            except ValidationError as error:
                details: list[Any] = [
                    {
                        **{key: problem[key] for key in ("type", "input", "ctx") if key in problem},
                        "loc": ("extra", number, *problem["loc"]),
                    }
                    for problem in error.errors()
                ]
                raise ValidationError.from_exception_data("Grid", details) from None
        return self


class Sensitivity(Strict):
    """Other conventions. Every claim is computed again under each of them."""

    bins: Annotated[list[Annotated[int, Field(gt=0, le=1000)]], AfterValidator(no_duplicates)] = Field(
        [10, 15, 30], description="Numbers of bins."
    )
    binning: Annotated[list[Literal["width", "mass"]], AfterValidator(no_duplicates)] = Field(
        ["width", "mass"], description="Kinds of bins: of equal width or of equal mass."
    )
    normalise: Annotated[list[Literal["sum", "token", "byte"]], AfterValidator(no_duplicates)] = Field(
        ["sum", "token", "byte"], description="Normalisations of the log-likelihoods."
    )


class Normalise(Strict):
    """How the log-likelihood of a candidate is normalised before the softmax over the options.

    ``sum``: not at all. ``token``, ``byte``: divided by the candidate's length. ``pmi``: minus the log-likelihood
    after a neutral context.
    """

    letters: Normalisation = Field(
        "sum",
        description="For letters. sum: unchanged; token, byte: divided by the candidate's length in tokens or"
        " bytes; pmi: minus the log-likelihood after a neutral context.",
    )
    texts: Normalisation = Field(
        "token", description="For texts, with the same values. token ranks by perplexity."
    )


class Measure(Strict):
    """How metrics are computed from score records."""

    bins: int = Field(15, gt=0, le=1000, description="Number of bins of the calibration errors.")
    binning: Literal["width", "mass"] = Field("width", description="Bins of equal width, or of equal mass.")
    normalise: Normalise = Field(
        default_factory=lambda: Normalise(), description="How log-likelihoods become probabilities."
    )
    bootstrap_samples: int = Field(1000, gt=1, description="Bootstrap samples for each interval.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")
    sensitivity: Sensitivity = Field(
        default_factory=lambda: Sensitivity(), description="Other conventions, for the table of sensitivity."
    )


class Embeddings(Strict):
    """Prompt embeddings and their diversity, for every checkpoint scored with this benchmark and protocol."""

    benchmark: Name = Field(description="Benchmark whose prompts are embedded.")
    protocol: Name = Field(description="Protocol of the prompts. The grid must score the benchmark with it.")
    pooling: Literal["last", "mean"] = Field(
        "last",
        description="last: the hidden state of the prompt's last token; mean: the mean over its tokens.",
    )
    questions: int | None = Field(
        None, gt=0, description="Number of questions per language, from the first; null: all."
    )


class NextToken(Strict):
    """Next-token calibration of every checkpoint of the grid on held-out conversations."""

    data: Names = Field(min_length=1, description="Data sets whose held-out conversations are used.")
    conversations: int | None = Field(
        1000, gt=0, description="Number of held-out conversations per data set, from the first; null: all."
    )
    max_length: int = Field(4096, gt=1, description="Tokens to which longer conversations are truncated.")
    chat_template: ChatTemplate = Field(
        "tulu", description="Chat format that turns a conversation into one text."
    )


class Generation(Strict):
    """Short answers of every checkpoint of the grid to questions without options."""

    benchmarks: Names = Field(
        min_length=1, description="Benchmarks without options, whose format is open or mkqa."
    )
    languages: Annotated[Names, Field(min_length=1)] | None = Field(
        None, description="The languages that are asked; null: all languages of each benchmark."
    )
    num_fewshot: int = Field(
        5, ge=0, le=32, description="Number of examples before the question, from the same group."
    )
    prompt_language: PromptLanguage = "english"
    chat_template: QuestionTemplate = None
    max_new_tokens: int = Field(
        16, gt=0, le=1024, description="Most tokens of an answer. It also ends at the end of its first line."
    )
    samples: int = Field(
        10, ge=2, le=1000, description="Number of sampled answers to each question, besides the greedy one."
    )
    temperature: Positive = Field("1", description="Temperature of the sampled answers.")
    top_p: PositiveShare = Field(
        "1", description="Probability of the tokens that are sampled from, the most likely ones; 1: all."
    )
    seed: Seed = Field("0", description="Seed of the sampled answers.")
    entailment: Name | None = Field(
        None,
        description="Model of the catalogue for natural language inference, which says which answers mean the same;"
        " null: answers are the same only if they are spelled alike.",
    )


class Planning(Strict):
    """Assumptions of ``polycal plan`` about GPUs. They change neither results nor jobs."""

    gpu_tflops: float = Field(
        312, gt=0, description="Peak of a GPU in bfloat16, in TFLOP/s: 312 for an A100, 989 for an H100."
    )
    training_share: float = Field(0.35, gt=0, le=1, description="Share of the peak that training achieves.")
    scoring_share: float = Field(0.3, gt=0, le=1, description="Share of the peak that scoring achieves.")
    load_seconds: float = Field(
        60, ge=0, description="Seconds that a scoring job needs before its first question."
    )


class Miniature(Strict):
    """The miniature world: made-up data and tiny models, which need no hub, GPU or licence agreement."""

    seed: int = Field(0, ge=0, description="Seed of the world and its data.")
    languages: Names = Field(
        min_length=1, description="Languages of the world, by their share of the texts, largest first."
    )
    questions: int = Field(300, gt=0, description="Number of test questions per benchmark and language.")
    rows: int = Field(1000, gt=0, description="Number of conversations per instruction set.")
    steps: int = Field(1200, gt=0, description="Number of pre-training steps.")
    batch_size: int = Field(32, gt=0, description="Documents per pre-training step.")
    learning_rate: Positive = Field("6e-3", description="Pre-training learning rate.")


class Config(Strict):
    """The keys at the top level."""

    study: Name = Field(description="Name of the study. Its tables and report are in results/studies/NAME.")
    models: dict[Name, Model] = Field(default_factory=dict, description="Catalogue of base models.")
    data: dict[Name, Data] = Field(default_factory=dict, description="Catalogue of instruction data sets.")
    benchmarks: dict[Name, Benchmark] = Field(default_factory=dict, description="Catalogue of benchmarks.")
    languages: dict[Name, Language] = Field(default_factory=dict, description="Catalogue of languages.")
    recipes: dict[Name, Recipe] = Field(
        default_factory=dict, description="Catalogue of recipes (training settings)."
    )
    protocols: dict[Name, Protocol] = Field(
        default_factory=dict, description="Catalogue of protocols (how questions are asked)."
    )
    grid: Grid = Field(description="The combinations that run.")
    languages_per_job: int = Field(1, gt=0, description="Number of languages that one scoring job scores.")
    measure: Measure = Field(
        default_factory=lambda: Measure(), description="How metrics are computed from score records."
    )
    by_group: bool = Field(
        False,
        description="Measure accuracy, gap and ECE of each group of questions too, such as a subject.",
    )
    reliability_languages: Annotated[list[Name], AfterValidator(no_duplicates)] = Field(
        default_factory=list,
        description="Languages with reliability diagrams among the figures, besides those with the least, the"
        " middle and the greatest gap; [all]: every language.",
    )
    embeddings: Embeddings | None = Field(
        None,
        description="Compute prompt embeddings for every checkpoint scored with this benchmark and protocol;"
        " null: off.",
    )
    next_token: NextToken | None = Field(
        None, description="Score the next tokens of held-out conversations with every checkpoint; null: off."
    )
    generation: Generation | None = Field(
        None,
        description="Generate answers to questions without options with every checkpoint of the grid; null: off.",
    )
    planning: Planning = Field(
        default_factory=lambda: Planning(), description="Assumptions of the cost estimate."
    )
    miniature: Miniature | None = Field(
        None, description="The miniature world. Required if an entry has a miniature source."
    )

    @field_validator("study")
    @classmethod
    def _no_partial(cls, name: str) -> str:
        if name.endswith(paths.PARTIAL_SUFFIX):
            raise ValueError(
                f"must not end in {paths.PARTIAL_SUFFIX!r}, the end of folders of interim reports"
            )
        return name

    @field_validator("models")
    @classmethod
    def _no_truth(cls, models: dict[str, Model]) -> dict[str, Model]:
        if TRUTH in models:
            raise ValueError(
                f"{TRUTH!r} is refused as a model: tables use this name for the true distribution; choose another"
            )
        return models

    @field_validator("languages")
    @classmethod
    def _no_summary(cls, languages: dict[str, Language]) -> dict[str, Language]:
        for code in SUMMARIES:
            if code in languages:
                raise ValueError(
                    f"{code!r} is refused as a language: tables use this name for a summary; choose another"
                )
        return languages

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        for catalogue in ("models", "data", "benchmarks", "languages", "recipes", "protocols"):
            seen: dict[str, str] = {}
            for name in getattr(self, catalogue):
                other = seen.setdefault(name.lower(), name)
                if other != name:
                    raise ValueError(
                        f"{catalogue}: {other!r} and {name!r} differ only in capitals, but some file systems"
                        " ignore case; rename one of them"
                    )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for at, block in self.grid.blocks_by_key().items():
            self._check_block(block, at)
        self._check_embeddings()
        scored = {code for block in self.grid.blocks() for code in self._scored(block)}
        for code in self.reliability_languages:
            require_known("reliability_languages", code, {*scored, "all"}, "the scored languages")
        for name in self.next_token.data if self.next_token else []:
            require_known("next_token.data", name, self.data, "the catalogue 'data'")
            if self.data[name].heldout == "0":
                raise ValueError(
                    f"next_token.data: data.{name}.heldout is 0, so there are no conversations to score;"
                    " set it above 0"
                )
        entries = [*self.models.values(), *self.data.values(), *self.benchmarks.values()]
        check_generation(self)
        check_miniature(self)
        if self.miniature is None and any(entry.miniature for entry in entries):
            raise ValueError("miniature: this key is required, because an entry has a miniature source")
        return self

    def _check_block(self, block: Block, at: str) -> None:
        """Raise ValueError if ``block``, the value of key ``at``, contains an unknown name or cannot run."""
        for key in ("models", "data", "recipes", "benchmarks", "protocols"):
            for name in getattr(block, key):
                require_known(f"{at}.{key}", name, getattr(self, key), f"the catalogue {key!r}")
        self._check_languages(block, at)
        for name in block.protocols:
            candidates, pmi = self.protocols[name].candidates, self.protocols[name].pmi
            if getattr(self.measure.normalise, candidates, "sum") == "pmi" and not pmi:
                raise ValueError(
                    f"measure.normalise.{candidates}: 'pmi' needs pmi: true in protocol {name!r} of {at}"
                )
            if self.protocols[name].follow_up and getattr(self.measure.normalise, candidates) == "pmi":
                raise ValueError(
                    f"measure.normalise.{candidates}: 'pmi' is known only after all options are scored, so protocol"
                    f" {name!r} of {at} cannot ask about the chosen one; set it to sum, token or byte"
                )
        if block.data and not (block.recipes and block.betas and block.seeds):
            raise ValueError(
                f"{at}: data is given without a recipe, a β and a seed; give at least one of each, or no data"
            )
        check_training(block, at, self.models, self.data, self.recipes)
        check_block(self, block, at)

    def _check_languages(self, block: Block, at: str) -> None:
        available = {code for name in block.benchmarks for code in self.benchmarks[name].languages}
        for code in block.languages or []:
            require_known(f"{at}.languages", code, available, "the languages of the grid's benchmarks")
        for code in available:
            require_known(f"{at}.benchmarks", code, self.languages, "the catalogue 'languages'")
        scored = self._scored(block)
        for name in block.protocols:
            if self.protocols[name].prompt_language == "local":
                for code in sorted(scored):
                    require_known(
                        f"{at}.protocols: {name} with prompt_language local", code, LABELS, "the labels"
                    )

    def _scored(self, block: Block) -> set[str]:
        """The languages that a block scores."""
        return {
            code
            for name in block.benchmarks
            for code in self.benchmarks[name].languages_among(block.languages)
        }

    def _check_embeddings(self) -> None:
        if self.embeddings is None:
            return
        benchmark, protocol = self.embeddings.benchmark, self.embeddings.protocol
        blocks = self.grid.blocks()
        if not any(benchmark in block.benchmarks and protocol in block.protocols for block in blocks):
            raise ValueError(
                f"embeddings: the grid does not score benchmark {benchmark!r} with protocol {protocol!r};"
                " give a pair that it scores"
            )
        if self.protocols[protocol].candidates in P_TRUE:
            raise ValueError(
                f"embeddings.protocol: {protocol!r} asks whether each option is true, so a question has no prompt of its"
                " own; give a protocol of letters or texts"
            )
