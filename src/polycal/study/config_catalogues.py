"""Entries of the configuration's catalogues: models, data sets, benchmarks, languages, recipes, protocols."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from polycal.data import language_tags
from polycal.study.config_values import (
    ChatTemplate,
    Label,
    LanguageTag,
    Location,
    Name,
    Names,
    Positive,
    Seed,
    Share,
    Strict,
    no_duplicates,
)

SOURCES = ("hub", "path", "miniature")
"""Keys of an entry that say where it comes from; each entry has exactly one."""

COMMIT = r"[0-9a-f]{40}"


class Source(Strict):
    """Where an entry comes from: exactly one of hub, path, miniature."""

    hub: Location | None = Field(
        None, description="Repository id on the hub, such as mistralai/Mistral-7B-v0.1."
    )
    revision: str | None = Field(None, description="Commit of the hub repository; required with hub.")
    path: Location | None = Field(
        None, description="Local folder or file, relative to the working directory."
    )
    miniature: Name | None = Field(
        None, description="Name in the miniature hub, which the workflow builds itself."
    )
    licence: str | None = Field(None, description="Licence, shown in the report.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in SOURCES if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of {', '.join(SOURCES)} (found {' and '.join(given) or 'none of them'})"
            )
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision belong together: pin the hub repository to a commit")
        if self.revision is not None and not re.fullmatch(COMMIT, self.revision):
            raise ValueError(
                f"revision {self.revision!r} may move; pin a commit (40 hexadecimal digits, listed on the"
                " repository's page under 'Files and versions', 'History')"
            )
        return self


class ModelPlanning(Strict):
    """Sizes of a model. Only the cost estimate reads them."""

    parameters: float | None = Field(None, gt=0, description="Number of parameters.")
    vocabulary: int | None = Field(None, gt=0, description="Rows of the output embedding.")
    hidden: int | None = Field(None, gt=0, description="Width of the hidden states.")
    layers: int | None = Field(None, gt=0, description="Number of layers.")


class Model(Source):
    """A base model."""

    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description="Attention implementation. Gemma 2 trains with eager."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="Data type of the weights in scoring."
    )
    training_gpus: int = Field(
        0, ge=0, description="GPUs per node of a fine-tuning job, one process per GPU; 0 trains on the CPU."
    )
    training_nodes: int = Field(
        1,
        ge=1,
        description="Nodes of a fine-tuning job, each with training_gpus GPUs. Does not change results.",
    )
    training_memory_mb: int = Field(
        4000, gt=0, description="Main memory of a fine-tuning job on each node, in MB."
    )
    training_minutes: int = Field(60, gt=0, description="Time limit of a fine-tuning job.")
    zero_stage: Literal[0, 2, 3] = Field(2, description="DeepSpeed ZeRO stage. Does not change results.")
    scoring_gpus: int = Field(0, ge=0, description="GPUs of a scoring job.")
    scoring_memory_mb: int = Field(4000, gt=0, description="Main memory of a scoring job, in MB.")
    scoring_minutes: int = Field(60, gt=0, description="Time limit of a scoring job.")
    planning: ModelPlanning = Field(
        default_factory=lambda: ModelPlanning(), description="Sizes for the cost estimate."
    )

    @property
    def training_ranks(self) -> int:
        """Processes of a fine-tuning job on each node."""
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
        None, gt=0, description="Size of a random sub-sample of conversations; null: all."
    )
    heldout: Share = Field("0.02", description="Share of conversations held out of training.")
    seed: Seed = Field("0", description="Seed of shuffling and sub-sampling.")
    language_mixture: Literal["english_only", "natural", "balanced"] | None = Field(
        None,
        description="Mixture of languages: English only, as in the set (also null), or equally many rows per"
        " language.",
    )
    languages: Annotated[Names, Field(min_length=1)] | None = Field(
        None, description="Languages of a balanced mixture; null: all languages of the set."
    )
    # free text, because sets use names such as ai2-adapt-dev/tulu_v3.9_aya_100k
    sources: Annotated[list[str], Field(min_length=1), AfterValidator(no_duplicates)] | None = Field(
        None, description="Use only conversations of these sources, as named in the set; null: all."
    )
    config: str | None = Field(None, description="Configuration of the hub data set, if it has several.")
    planning: DataPlanning = Field(
        default_factory=lambda: DataPlanning(), description="Sizes for the cost estimate."
    )

    @model_validator(mode="after")
    def _mixture(self) -> Self:
        if self.languages is not None and self.language_mixture != "balanced":
            raise ValueError("languages are those of a balanced mixture; set language_mixture to balanced")
        codes = [language_tags.language_code(tag) or tag for tag in self.languages or []]
        for tag, code in zip(self.languages or [], codes, strict=True):
            if codes.count(code) > 1:
                raise ValueError(f"languages: {tag!r} is the language of another entry too; name it once")
        if self.language_mixture == "english_only" and language_tags.language_code(self.language) not in (
            None,
            "en",
        ):
            raise ValueError(
                f"language_mixture english_only takes nothing of a set whose language is {self.language!r};"
                " remove one of the two keys"
            )
        return self


class BenchmarkPlanning(Strict):
    """Sizes of a benchmark. Only the cost estimate reads them."""

    questions: int | None = Field(None, gt=0, description="Test questions per language.")
    tokens: float | None = Field(None, gt=0, description="Mean number of tokens per question.")


class Benchmark(Source):
    """A multiple-choice benchmark in several languages."""

    format: Literal["mmlu-prox", "global-mmlu", "file"] = Field(
        description="Columns; file: a parquet, csv or jsonl file with the columns of config/own/README.md."
    )
    languages: Names = Field(min_length=1, description="Language codes, as spelled in the benchmark.")
    limit: int | None = Field(
        None, gt=0, description="Use only the first questions of each language; null: all."
    )
    planning: BenchmarkPlanning = Field(
        default_factory=lambda: BenchmarkPlanning(), description="Sizes for the cost estimate."
    )


class Language(Strict):
    """A language as shown in tables and figures."""

    name: Label = Field(description="English name.")
    script: Label = Field(description="Script.")
    resource: Literal["high", "mid", "low"] = Field(
        description="Resource level (Joshi et al. 2020, and Aya)."
    )


class Recipe(Strict):
    """Training settings. All keys except ``extends`` and ``learning_rates`` determine a checkpoint."""

    learning_rates: Annotated[list[Positive], Field(min_length=1), AfterValidator(no_duplicates)] = Field(
        description="Each is trained; if there are several, the best on held-out data is scored."
    )
    epochs: Positive = Field(description="Passes over the data.")
    global_batch_size: int = Field(128, gt=0, description="Conversations per step, over all ranks.")
    micro_batch_size: int = Field(1, gt=0, description="Conversations that one rank processes at once.")
    warmup_ratio: Share = Field(
        description="Share of the steps over which the learning rate rises linearly; then it falls linearly"
        " to 0."
    )
    dropout: Share = Field("0", description="Dropout of the attention weights; the models have no other.")
    weight_decay: Share = Field("0", description="Weight decay of AdamW.")
    max_grad_norm: Positive = Field("1", description="Norm to which larger gradients are clipped.")
    max_length: int = Field(4096, gt=1, description="Conversations are truncated to this many tokens.")
    reduction: Literal["mean", "sum"] = Field(
        "mean", description="Reduction of the loss over the target tokens of a global batch."
    )
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="Data type of the computation.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations in the backward pass.")
    chat_template: ChatTemplate = Field(
        "tulu", description="Format in which a conversation is written as one text."
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is not a multiple of"
                f" micro_batch_size {self.micro_batch_size}"
            )
        return self


class Protocol(Strict):
    """How questions are asked."""

    candidates: Literal["letters", "texts"] = Field(
        description="What is scored: the letters of the options or their texts."
    )
    num_fewshot: int = Field(
        0, ge=0, le=32, description="Examples before the question, from the same subject."
    )
    prompt_language: Literal["english", "local"] = Field(
        "english", description="Language of the words around a question."
    )
    chat_template: ChatTemplate | None = Field(
        None,
        description="Chat format for tuned models (base models are asked in plain text); null: plain text.",
    )
    pmi: bool = Field(False, description="Also score each candidate after a neutral context.")
