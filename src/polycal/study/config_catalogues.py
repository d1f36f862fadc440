"""The entries of the configuration's catalogues: models, data sets, benchmarks, languages, recipes, protocols."""

from collections.abc import Collection
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from polycal.artifacts.candidate_forms import P_TRUE
from polycal.data import language_tags
from polycal.data.open_format_names import FORMATS, OPEN
from polycal.data.readers import SUFFIXES
from polycal.data.world import languages as world
from polycal.study.config_sources import Source
from polycal.study.config_values import (
    ChatTemplate,
    Label,
    LanguageTag,
    Names,
    Positive,
    PromptLanguage,
    QuestionTemplate,
    Seed,
    Share,
    Strict,
    no_duplicates,
)
from polycal.vocabulary import LETTERS


class ModelPlanning(Strict):
    """Sizes of a model. Only the cost estimate reads them."""

    parameters: float | None = Field(None, gt=0, description="Number of parameters.")
    vocabulary: int | None = Field(None, gt=0, description="Rows of the output embedding.")
    hidden: int | None = Field(None, gt=0, description="Width of the hidden states.")
    layers: int | None = Field(None, gt=0, description="Number of layers.")


class Model(Source):
    """A base model."""

    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa",
        description="Attention implementation of transformers. Gemma 2 needs eager: sdpa omits its soft-cap.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="Data type of the weights when the model is scored."
    )
    training_gpus: int = Field(
        0,
        ge=0,
        description="GPUs per node of a fine-tuning job, with one process per GPU; 0: train on the CPU.",
    )
    training_nodes: int = Field(
        1,
        ge=1,
        description="Nodes of a fine-tuning job, each with training_gpus GPUs. Changes results by rounding only.",
    )
    training_memory_mb: int = Field(
        4000, gt=0, description="Main memory per node of a fine-tuning job, in MB."
    )
    training_minutes: int = Field(60, gt=0, description="Time limit of a fine-tuning job, in minutes.")
    zero_stage: Literal[0, 2, 3] = Field(
        2, description="DeepSpeed ZeRO stage. Changes results by rounding only."
    )
    scoring_gpus: int = Field(0, ge=0, description="GPUs of a scoring job.")
    scoring_memory_mb: int = Field(4000, gt=0, description="Main memory of a scoring job, in MB.")
    scoring_minutes: int = Field(60, gt=0, description="Time limit of a scoring job, in minutes.")
    planning: ModelPlanning = Field(
        default_factory=lambda: ModelPlanning(), description="Sizes for the cost estimate."
    )

    @model_validator(mode="after")
    def _gguf(self) -> Self:
        self._check_ending(".gguf")
        return self

    @property
    def training_ranks(self) -> int:
        """Processes per node of a fine-tuning job."""
        return max(self.training_gpus, 1)

    @property
    def training_world(self) -> int:
        """Processes of a fine-tuning job on all nodes together."""
        return self.training_ranks * self.training_nodes


class DataPlanning(Strict):
    """Sizes of a data set. Only the cost estimate reads them."""

    size: int | None = Field(None, gt=0, description="Number of conversations.")
    tokens: float | None = Field(None, gt=0, description="Mean number of tokens per conversation.")


class Data(Source):
    """An instruction data set."""

    format: Literal["alpaca", "messages", "openhermes"] = Field(
        description="Columns: alpaca (instruction, input, output), messages (role, content),"
        " openhermes (from, value)."
    )
    language: LanguageTag | None = Field(
        None, description="Language of all rows, if known; null: identify the language of each row."
    )
    rows: int | None = Field(
        None, gt=0, description="Number of conversations in a random sample of the set; null: all."
    )
    heldout: Share = Field(
        "0.02", description="Share of the conversations that is held out of training, in [0, 1)."
    )
    seed: Seed = Field(
        "0", description="Seed of the sample and of the split into training and held-out conversations."
    )
    language_mixture: Literal["english_only", "natural", "balanced"] | None = Field(
        None,
        description="Mixture of languages: only English, as in the set (null: the same), or equally many"
        " conversations per language.",
    )
    languages: Annotated[Names, Field(min_length=1)] | None = Field(
        None, description="Languages of a balanced mixture; null: all languages of the set."
    )
    # Any text is allowed, because sets use names such as ai2-adapt-dev/tulu_v3.9_aya_100k
    sources: Annotated[list[str], Field(min_length=1), AfterValidator(no_duplicates)] | None = Field(
        None, description="Sources whose conversations are used, as named in the set; null: all."
    )
    config: str | None = Field(None, description="Configuration of the hub repository, if it has several.")
    planning: DataPlanning = Field(
        default_factory=lambda: DataPlanning(), description="Sizes for the cost estimate."
    )

    @model_validator(mode="after")
    def _data_file(self) -> Self:
        self._check_ending(*SUFFIXES)
        return self

    @model_validator(mode="after")
    def _mixture(self) -> Self:
        if self.languages is not None and self.language_mixture != "balanced":
            raise ValueError(
                "languages is for a balanced mixture; set language_mixture to balanced or remove languages"
            )
        codes = [language_tags.language_code(tag) or tag for tag in self.languages or []]
        for tag, code in zip(self.languages or [], codes, strict=True):
            if codes.count(code) > 1:
                raise ValueError(
                    f"languages: {tag!r} is the same language as another item; list each language once"
                )
        if self.language_mixture == "english_only" and language_tags.language_code(self.language) not in (
            None,
            "en",
        ):
            raise ValueError(
                f"language_mixture english_only selects nothing from a set whose language is"
                f" {self.language!r}; remove one of the two keys"
            )
        return self


class BenchmarkPlanning(Strict):
    """Sizes of a benchmark. Only the cost estimate reads them."""

    questions: int | None = Field(None, gt=0, description="Test questions per language.")
    tokens: float | None = Field(None, gt=0, description="Mean number of tokens per question.")


class Benchmark(Source):
    """A benchmark in several languages: of multiple choice, or of questions without options."""

    SOURCES: ClassVar[tuple[str, ...]] = (*Source.SOURCES, "generated")

    generated: Literal["world", "world-ten", "world-open"] | None = Field(
        None,
        description="Variant of the benchmark world, which the workflow writes (docs/world.md): with four options, up"
        " to ten, or none.",
    )

    format: Literal["mmlu-prox", "global-mmlu", "file", "open", "mkqa"] = Field(
        description="Columns of the rows. file: a parquet, csv, jsonl or json file as in config/own/README.md. open: such"
        " a file without options; mkqa: MKQA. Answers to questions without options are generated, not scored."
    )
    languages: Names = Field(min_length=1, description="Language codes, as the benchmark spells them.")
    limit: int | None = Field(
        None,
        gt=0,
        description="Number of test questions, a fixed sample with the same ids in each language; null: all.",
    )
    planning: BenchmarkPlanning = Field(
        default_factory=lambda: BenchmarkPlanning(), description="Sizes for the cost estimate."
    )

    def languages_among(self, chosen: Collection[str] | None) -> list[str]:
        """The languages of the benchmark that are in ``chosen``, in its order; all of them if it is None."""
        return [code for code in self.languages if chosen is None or code in chosen]

    @model_validator(mode="after")
    def _question_file(self) -> Self:
        self._check_ending(*SUFFIXES)
        if self.packages is not None and self.format not in ("file", *FORMATS):
            raise ValueError(
                f"format {self.format!r} is for repositories; with packages, format must be file,"
                f" {' or '.join(FORMATS)}"
            )
        return self

    @model_validator(mode="after")
    def _world(self) -> Self:
        if self.generated is None:
            return self
        needed = OPEN if self.generated == world.OPEN else "file"
        if self.format != needed:
            raise ValueError(f"format is {self.format!r}; of a generated benchmark it must be {needed}")
        for code in self.languages:
            if code not in world.LANGUAGES:
                raise ValueError(
                    f"languages: {code!r} is not among the languages of {self.generated!r}:"
                    f" {', '.join(world.LANGUAGES)}"
                )
        return self


class Language(Strict):
    """A language, as tables and figures show it."""

    name: Label = Field(description="Name in English.")
    script: Label = Field(description="Script in which it is written.")
    resource: Literal["high", "mid", "low"] = Field(
        description="Resource level (Joshi et al. 2020, and Aya)."
    )


class Recipe(Strict):
    """Training settings. Checkpoints depend on all keys except ``extends`` and ``learning_rates``; each of the
    learning rates has a checkpoint of its own.
    """

    learning_rates: Annotated[list[Positive], Field(min_length=1), AfterValidator(no_duplicates)] = Field(
        description="Learning rates. Each is trained; the one with the lowest loss on held-out conversations is scored."
    )
    epochs: Positive = Field(description="Passes over the data. May be fractional.")
    global_batch_size: int = Field(
        128, gt=0, description="Conversations per optimizer step, over all processes."
    )
    micro_batch_size: int | None = Field(
        None,
        gt=0,
        description="Conversations that one process computes at once, padded to the longest of them. A recipe has"
        " either this key or tokens_per_micro_batch.",
    )
    tokens_per_micro_batch: int | None = Field(
        None,
        gt=0,
        description="Tokens that one process computes at once, as conversations one behind another without padding."
        " A longer conversation is computed alone. Changes results by rounding only, except with dropout.",
    )
    warmup_ratio: Share = Field(
        description="Share of the steps in which the learning rate rises linearly. Afterwards it falls linearly"
        " to 0."
    )
    dropout: Share = Field("0", description="Dropout of the attention weights; the models have no other.")
    weight_decay: Share = Field("0", description="Weight decay of AdamW.")
    max_grad_norm: Positive = Field("1", description="Norm above which gradients are clipped.")
    max_length: int = Field(4096, gt=1, description="Tokens to which longer conversations are truncated.")
    reduction: Literal["mean", "sum"] = Field(
        "mean", description="Mean or sum of the loss over the target tokens of a global batch."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="Data type of the computation in training."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, a third more time."
    )
    chat_template: ChatTemplate = Field(
        "tulu", description="Chat format that turns a conversation into one text."
    )

    @model_validator(mode="after")
    def _micro_batches(self) -> Self:
        if (self.micro_batch_size is None) == (self.tokens_per_micro_batch is None):
            given = "neither" if self.micro_batch_size is None else "both"
            raise ValueError(
                f"has {given} of micro_batch_size and tokens_per_micro_batch; give exactly one of them, and null for"
                " the other if the recipe extends one that has it"
            )
        if self.micro_batch_size is not None and self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is not a multiple of"
                f" micro_batch_size {self.micro_batch_size}"
            )
        return self


class Protocol(Strict):
    """How questions are asked."""

    candidates: Literal["letters", "texts", "true_letters", "true_words"] = Field(
        description="What is scored as an answer: the letters of the options, or their texts. true_letters, true_words:"
        " P(True), whether each option is true when it is proposed, by the letters A and B or the words true and"
        " false."
    )
    num_fewshot: int = Field(
        0, ge=0, le=32, description="Number of examples before the question, from the same subject."
    )
    prompt_language: PromptLanguage = "english"
    chat_template: QuestionTemplate = None
    pmi: bool = Field(
        False,
        description="Score each candidate after a neutral context too, for the normalisation pmi. With true_letters and"
        " true_words: correct P(True) by how likely true is without a question and an option.",
    )
    rotations: int = Field(
        1,
        ge=1,
        le=len(LETTERS),
        description="Number of orders in which the options of a question are shown, each a rotation of the first."
        " The distributions are averaged. Letters only; a question with fewer options has as many orders as options.",
    )
    follow_up: Literal["levels", "true_letters", "true_words"] | None = Field(
        None,
        description="What is asked about the chosen option after the question. levels: its confidence, 0% to 100%;"
        " true_letters, true_words: whether it is true (P(True)). With prompt_language local, the word before the"
        " confidence is in the language of the question.",
    )

    @model_validator(mode="after")
    def _whether_true(self) -> Self:
        if self.candidates in P_TRUE and self.prompt_language == "local":
            raise ValueError(
                f"candidates {self.candidates} asks in English, so prompt_language local has no wording; set"
                " prompt_language to english"
            )
        return self

    @model_validator(mode="after")
    def _asks_once_more(self) -> Self:
        if self.follow_up is None:
            return self
        for key, refused in (("candidates", self.candidates in P_TRUE), ("rotations", self.rotations > 1)):
            if refused:
                raise ValueError(
                    f"follow_up is about the option that is chosen in a single order, not for {key}"
                    f" {getattr(self, key)}; remove one of the two keys"
                )
        if self.follow_up in P_TRUE and self.prompt_language == "local":
            raise ValueError(
                f"follow_up {self.follow_up} asks in English, so prompt_language local has no wording; set"
                " prompt_language to english"
            )
        return self

    @model_validator(mode="after")
    def _orders(self) -> Self:
        if self.rotations > 1 and self.candidates != "letters":
            raise ValueError(
                f"rotations is {self.rotations}, but only letters depend on the order of the options; set candidates to"
                " letters or remove rotations"
            )
        if self.rotations > 1 and self.pmi:
            raise ValueError(
                "pmi corrects for the letters in one order, and rotations average over them; remove one of the two keys"
            )
        return self
