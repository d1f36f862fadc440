"""What a study may say: the configuration as Pydantic models, refused in sentences where it is wrong.

Catalogues (models, data, benchmarks, languages, recipes, protocols) are mappings by name, so an overlay
adds to them; what runs is lists under ``grid``, which an overlay replaces. Numbers that name a cell are
canonical strings from here on.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from polycal.errors import PolycalError
from polycal.scoring.prompts import LABELS

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


# tokens of the hubs and services that people use beside it
SECRET_TEXT = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16})\b"
    r"|://[^/\s:@]+:[^/\s@]+@"
)
SECRET_KEY = re.compile(r"(?i)(^|[._-])(\w+_)?(token|password|secret|api_?key|credentials?)$")


class ConfigError(PolycalError):
    """A configuration that cannot run; each line names the key, its value and what would be right."""


def canonical_number(value: Any) -> str:
    """One spelling of a number: ``0.10``, ``.1`` and ``"0.1"`` are ``0.1``; ``5e-06`` is ``5e-6``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not number.is_finite():
        raise ValueError("must be a finite number")
    if number == 0:
        return "0"
    digits = number.normalize()
    if Decimal("1e-4") <= abs(digits) < Decimal("1e16"):
        return f"{digits:f}"
    sign, figures, exponent = digits.as_tuple()
    text = "".join(map(str, figures))
    power = int(exponent) + len(text) - 1
    return f"{'-' * sign}{text[0]}{'.' + text[1:] if text[1:] else ''}e{power}"


def _within(low: str, high: str, include_high: bool = True) -> AfterValidator:
    def check(text: str) -> str:
        number = Decimal(text)
        if number < Decimal(low) or number > Decimal(high) or (number == Decimal(high) and not include_high):
            raise ValueError(f"must lie in [{low}, {high}{']' if include_high else ')'}")
        return text

    return AfterValidator(check)


def _name(text: Any) -> str:
    if isinstance(text, bool):
        raise ValueError("YAML reads a bare yes, no, on or off as true or false: put the name in quotes")
    text = str(text)
    if not re.fullmatch(NAME, text) or text == "none":
        raise ValueError(
            "must start with a letter or digit and hold only letters, digits, dot, underscore and hyphen"
            " ('none' is taken)"
        )
    return text


def _unique(values: list[Any]) -> list[Any]:
    twice = sorted({str(v) for v in values if values.count(v) > 1})
    if twice:
        raise ValueError(f"holds {twice[0]!r} twice; each may stand once")
    return values


Name = Annotated[str, BeforeValidator(_name)]
Number = Annotated[str, BeforeValidator(canonical_number), WithJsonSchema({"type": ["number", "string"]})]
Positive = Annotated[Number, _within("1e-12", "1e12")]
Share = Annotated[Number, _within("0", "1", include_high=False)]
Names = Annotated[list[Name], AfterValidator(_unique)]
Normalisation = Literal["sum", "token", "byte", "pmi"]


class Strict(BaseModel):
    """A mapping without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Strict):
    """Where a thing comes from: exactly one of hub, path, miniature."""

    hub: str | None = Field(None, description="Repository id on the hub, such as mistralai/Mistral-7B-v0.1.")
    revision: str | None = Field(None, description="Commit of the hub repository; required with hub.")
    path: str | None = Field(None, description="Local folder or file, relative to the working directory.")
    miniature: Name | None = Field(
        None, description="Name in the miniature hub that the workflow builds itself."
    )
    licence: str | None = Field(None, description="Licence, shown in the report.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("hub", "path", "miniature") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of hub, path, miniature (found {', '.join(given) or 'none of them'})"
            )
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision belong together: pin the hub repository to a commit")
        return self

    def where(self) -> dict[str, str]:
        """The source alone, as it stands in a cell."""
        keys = ("hub", "revision", "path", "miniature")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


class ModelPlanning(Strict):
    """Sizes of a model that only the cost estimate reads."""

    parameters: float | None = Field(None, gt=0, description="Number of parameters.")
    vocabulary: int | None = Field(None, gt=0, description="Rows of the output embedding.")
    hidden: int | None = Field(None, gt=0, description="Width of the hidden states.")
    layers: int | None = Field(None, gt=0, description="Number of layers.")


class DataPlanning(Strict):
    """Sizes of a data set that only the cost estimate reads."""

    size: int | None = Field(None, gt=0, description="Number of conversations.")
    tokens: float | None = Field(None, gt=0, description="Mean number of tokens per conversation.")


class BenchmarkPlanning(Strict):
    """Sizes of a benchmark that only the cost estimate reads."""

    questions: int | None = Field(None, gt=0, description="Test questions per language.")
    tokens: float | None = Field(None, gt=0, description="Mean number of tokens per question.")


class Model(Source):
    """A base model."""

    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description="Attention implementation; Gemma2 trains with eager."
    )
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="Weights' type when scoring.")
    planning: ModelPlanning = Field(
        default_factory=lambda: ModelPlanning(), description="What the cost estimate assumes of the model."
    )
    training_gpus: int = Field(
        0, ge=0, description="GPUs of a fine-tuning job on each node, one process a GPU; 0 trains on the CPU."
    )
    training_nodes: int = Field(
        1, ge=1, description="Nodes of a fine-tuning job, each with its own training_gpus; changes no result."
    )
    training_memory_mb: int = Field(4000, gt=0, description="Main memory of a fine-tuning job on each node.")
    training_minutes: int = Field(60, gt=0, description="Time limit of a fine-tuning job.")
    zero_stage: Literal[0, 2, 3] = Field(2, description="DeepSpeed ZeRO stage; changes no result.")
    scoring_gpus: int = Field(0, ge=0, description="GPUs of a scoring job.")
    scoring_memory_mb: int = Field(4000, gt=0, description="Main memory of a scoring job.")
    scoring_minutes: int = Field(60, gt=0, description="Time limit of a scoring job.")

    @property
    def training_ranks(self) -> int:
        """Processes of a fine-tuning job on each of its nodes."""
        return max(self.training_gpus, 1)

    @property
    def training_world(self) -> int:
        """Processes of a fine-tuning job on all of its nodes."""
        return self.training_ranks * self.training_nodes


class Data(Source):
    """An instruction data set."""

    format: Literal["alpaca", "messages", "openhermes"] = Field(
        description="Columns: alpaca (instruction, input, output), messages (role, content), openhermes (from, value)."
    )
    language: str | None = Field(
        None, description="Language of every row where it is known; null identifies it row by row."
    )
    rows: int | None = Field(
        None, gt=0, description="Random sub-sample of this many conversations; null takes all."
    )
    heldout: Share = Field("0.02", description="Share of conversations held out of training.")
    seed: Number = Field("0", description="Seed of shuffling and sub-sampling.")
    # the sets' own words, such as ai2-adapt-dev/tulu_v3.9_aya_100k or LMSys Chatbot Arena
    language_mixture: Literal["english_only", "natural", "balanced"] | None = Field(
        None,
        description="Mixture of languages: English alone, as the set has them (as null), or as many rows of each.",
    )
    languages: Names | None = Field(
        None, description="Languages of a balanced mixture; null takes all that the set holds."
    )
    sources: Annotated[list[str], Field(min_length=1), AfterValidator(_unique)] | None = Field(
        None, description="Only conversations of these sources, as the set names them; null takes all."
    )
    config: str | None = Field(None, description="Configuration of the hub data set, where it has several.")
    planning: DataPlanning = Field(
        default_factory=lambda: DataPlanning(), description="What the cost estimate assumes of the data set."
    )


class Benchmark(Source):
    """A multiple-choice benchmark in several languages."""

    format: Literal["mmlu-prox", "global-mmlu", "file"] = Field(
        description="Columns; file is a parquet, csv or jsonl file of polycal's own question columns."
    )
    languages: Names = Field(min_length=1, description="Language codes, as the benchmark spells them.")
    limit: int | None = Field(
        None, gt=0, description="Only the first questions of each language; null takes all."
    )
    planning: BenchmarkPlanning = Field(
        default_factory=lambda: BenchmarkPlanning(),
        description="What the cost estimate assumes of the benchmark.",
    )


class Language(Strict):
    """A language as the figures show it."""

    name: str = Field(description="English name.")
    script: str = Field(description="Script.")
    resource: Literal["high", "mid", "low"] = Field(description="Resource level after Joshi et al. and Aya.")


class Recipe(Strict):
    """Training settings; all but ``extends`` and ``learning_rates`` are part of a cell."""

    learning_rates: Annotated[list[Positive], Field(min_length=1), AfterValidator(_unique)] = Field(
        description="Each is trained; with several, the best on held-out data is scored."
    )
    epochs: Positive = Field(description="Passes over the data.")
    global_batch_size: int = Field(128, gt=0, description="Conversations a step, over all ranks.")
    micro_batch_size: int = Field(1, gt=0, description="Conversations that one rank processes at once.")
    warmup_ratio: Share = Field(description="Share of the steps over which the learning rate rises linearly.")
    dropout: Share = Field(
        "0", description="Dropout of the attention weights, the only one these models have."
    )
    weight_decay: Share = Field("0", description="AdamW's weight decay.")
    max_grad_norm: Positive = Field("1", description="Largest norm of the gradient.")
    max_length: int = Field(4096, gt=1, description="Conversations are cut to this many tokens.")
    reduction: Literal["mean", "sum"] = Field(
        "mean", description="Loss over the target tokens of a global batch."
    )
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="Type of the computation.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations in the backward pass.")
    chat_template: Name = Field("tulu", description="How a conversation is written as one text.")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.global_batch_size % self.micro_batch_size:
            raise ValueError(f"global_batch_size {self.global_batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}")
        return self


class Protocol(Strict):
    """A way of asking."""

    candidates: Literal["letters", "texts"] = Field(
        description="What is scored: the option's letter or its text."
    )
    num_fewshot: int = Field(0, ge=0, le=32, description="Examples before the question, from the same group.")
    prompt_language: Literal["english", "local"] = Field(
        "english", description="Language of the words around a question."
    )
    chat_template: Name | None = Field(
        None, description="Ask tuned models in this chat format, base models plainly; null asks all plainly."
    )
    pmi: bool = Field(False, description="Also score every candidate after a neutral context.")


class Block(Strict):
    """A product of lists: every model with every data set, recipe, β, seed, benchmark and protocol."""

    models: Names = Field(min_length=1, description="Base models.")
    data: Names = Field(description="Instruction data sets; empty scores base models only.")
    recipes: Names = Field(description="Training recipes.")
    betas: Annotated[list[Share], AfterValidator(_unique)] = Field(
        description="Label smoothing β, in [0, 1)."
    )
    seeds: Annotated[list[Number], AfterValidator(_unique)] = Field(description="Training seeds.")
    benchmarks: Names = Field(min_length=1, description="Benchmarks.")
    protocols: Names = Field(min_length=1, description="Ways of asking.")
    languages: Names | None = Field(
        None, description="Only these languages; null takes all of each benchmark."
    )


class Grid(Block):
    """What runs."""

    extra: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Further products; each names the lists in which it differs from the grid.",
    )

    def blocks(self) -> list[Block]:
        """The grid's own product first, then each of ``extra``."""
        mine = self.model_dump(exclude={"extra"})
        return [Block(**mine), *(Block(**{**mine, **other}) for other in self.extra)]

    @model_validator(mode="after")
    def _extra(self) -> Self:
        self.blocks()
        return self


class Sensitivity(Strict):
    """Other conventions under which every claim is computed again."""

    bins: list[Annotated[int, Field(gt=0)]] = Field([10, 15, 30], description="Numbers of bins.")
    binning: list[Literal["width", "mass"]] = Field(["width", "mass"], description="Kinds of bins.")
    normalise: list[Literal["sum", "token", "byte"]] = Field(
        ["sum", "token", "byte"], description="Normalisations."
    )


class Normalise(Strict):
    """Normalisation of the log-likelihood by candidate form."""

    letters: Normalisation = Field("sum", description="For letters.")
    texts: Normalisation = Field("token", description="For texts: perplexity is per token.")


class Measure(Strict):
    """How records become numbers."""

    bins: int = Field(15, gt=0, le=1000, description="Number of bins of the calibration errors.")
    binning: Literal["width", "mass"] = Field("width", description="Bins of equal width or of equal mass.")
    normalise: Normalise = Field(
        default_factory=lambda: Normalise(), description="Log-likelihood to probability."
    )
    bootstrap_samples: int = Field(1000, gt=1, description="Bootstrap draws.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")
    sensitivity: Sensitivity = Field(default_factory=lambda: Sensitivity(), description="Other conventions.")


class Embeddings(Strict):
    """Prompt embeddings of every checkpoint that the grid scores so, and their diversity."""

    benchmark: Name = Field(description="Benchmark whose prompts are embedded.")
    protocol: Name = Field(description="Way of asking; the grid has to score it too.")
    pooling: Literal["last", "mean"] = Field(
        "last", description="The prompt's last token, or the mean over its tokens."
    )
    questions: int | None = Field(
        None, gt=0, description="Only the first questions of each language; null takes all."
    )


class NextToken(Strict):
    """Next-token calibration of every checkpoint of the grid on held-out conversations."""

    data: Names = Field(min_length=1, description="Data sets whose held-out conversations are read.")
    conversations: int | None = Field(
        1000, gt=0, description="Only the first held-out conversations of each set; null takes all."
    )
    max_length: int = Field(4096, gt=1, description="Conversations are cut to this many tokens.")
    chat_template: Name = Field("tulu", description="How a conversation is written as one text.")


class Planning(Strict):
    """What ``polycal plan`` assumes of a GPU; changes no result and no job."""

    gpu_tflops: float = Field(
        312, gt=0, description="Peak of a GPU in bfloat16; 312 is an A100, 989 an H100."
    )
    training_share: float = Field(0.35, gt=0, le=1, description="Share of the peak that training reaches.")
    scoring_share: float = Field(0.3, gt=0, le=1, description="Share of the peak that scoring reaches.")
    load_seconds: float = Field(60, ge=0, description="Start of a scoring job until the first question.")


class Miniature(Strict):
    """The small world that stands in for hub, GPU and licence click."""

    seed: int = Field(0, ge=0, description="Seed of world, data and models.")
    languages: Names = Field(min_length=1, description="Languages of the world, largest first.")
    questions: int = Field(300, gt=0, description="Test questions a benchmark and language.")
    rows: int = Field(1000, gt=0, description="Conversations an instruction set.")
    steps: int = Field(1200, gt=0, description="Pre-training steps.")
    batch_size: int = Field(32, gt=0, description="Documents a pre-training step.")
    learning_rate: Positive = Field("6e-3", description="Pre-training learning rate.")


class Config(Strict):
    """A study."""

    study: Name = Field(description="Names the folder of the study's results.")
    models: dict[Name, Model] = Field(default_factory=dict, description="Catalogue of base models.")
    data: dict[Name, Data] = Field(default_factory=dict, description="Catalogue of instruction data.")
    benchmarks: dict[Name, Benchmark] = Field(default_factory=dict, description="Catalogue of benchmarks.")
    languages: dict[Name, Language] = Field(default_factory=dict, description="Catalogue of languages.")
    recipes: dict[Name, Recipe] = Field(default_factory=dict, description="Catalogue of training settings.")
    protocols: dict[Name, Protocol] = Field(default_factory=dict, description="Catalogue of ways of asking.")
    grid: Grid = Field(description="What runs.")
    languages_per_job: int = Field(1, gt=0, description="Languages that one scoring job takes in turn.")
    measure: Measure = Field(default_factory=lambda: Measure(), description="How records become numbers.")
    embeddings: Embeddings | None = Field(None, description="Embed prompts; null does not.")
    next_token: NextToken | None = Field(
        None, description="Score next tokens of held-out conversations; null does not."
    )
    planning: Planning = Field(default_factory=lambda: Planning(), description="What a plan assumes.")
    miniature: Miniature | None = Field(None, description="The small world; needed by miniature sources.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        for number, block in enumerate(self.grid.blocks()):
            at = "grid" if number == 0 else f"grid.extra[{number - 1}]"
            for key in ("models", "data", "recipes", "benchmarks", "protocols"):
                for name in getattr(block, key):
                    _must_know(f"{at}.{key}", name, getattr(self, key), f"the catalogue {key!r}")
            spoken = {code for b in block.benchmarks for code in self.benchmarks[b].languages}
            for code in block.languages or []:
                _must_know(f"{at}.languages", code, spoken, "the languages of the grid's benchmarks")
            for code in spoken:
                _must_know(f"{at}.benchmarks", code, self.languages, "the catalogue 'languages'")
            asked = spoken & set(block.languages) if block.languages else spoken
            for name in [p for p in block.protocols if self.protocols[p].prompt_language == "local"]:
                for code in sorted(asked):
                    _must_know(f"{at}.protocols: {name} with prompt_language local", code, LABELS, "the labels")
            for name in block.protocols:
                form, pmi = self.protocols[name].candidates, self.protocols[name].pmi
                if getattr(self.measure.normalise, form) == "pmi" and not pmi:
                    raise ValueError(
                        f"measure.normalise.{form}: 'pmi' needs pmi: true in protocol {name!r} of {at}"
                    )
            if block.data and not (block.recipes and block.betas and block.seeds):
                raise ValueError(f"{at}: data without a recipe, a β and a seed; give one of each, or no data")
        if self.embeddings is not None:
            scored = {
                (b, p) for block in self.grid.blocks() for b in block.benchmarks for p in block.protocols
            }
            chosen = (self.embeddings.benchmark, self.embeddings.protocol)
            if chosen not in scored:
                raise ValueError(
                    f"embeddings: the grid does not score benchmark {chosen[0]!r} with protocol {chosen[1]!r}; name"
                    " a pair that it scores"
                )
        for name in self.next_token.data if self.next_token else []:
            _must_know("next_token.data", name, self.data, "the catalogue 'data'")
        used = [s for c in (self.models, self.data, self.benchmarks) for s in c.values()]
        if self.miniature is None and any(s.miniature for s in used):
            raise ValueError("miniature: a miniature source is named, but the key 'miniature' is missing")
        return self


def _must_know(key: str, name: str, known: Iterable[str], what: str) -> None:
    if name not in (names := list(known)):
        raise ValueError(f"{key}: {name!r} is not in {what}{_nearest(name, names)}")


def _nearest(name: str, names: Iterable[str]) -> str:
    options = sorted(names)
    close = difflib.get_close_matches(name, options, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(options[:40])}" if options else ", which is empty"


def resolve(raw: Mapping[str, Any]) -> Config:
    """The configuration behind a merged mapping; raises ConfigError, a line for each thing that is wrong.

    ``extends: NAME`` in a recipe or protocol takes over what that one says; a chain of them is followed.
    """
    _refuse_secrets(raw, "")
    merged = dict(raw)
    for catalogue in ("recipes", "protocols"):
        if isinstance(merged.get(catalogue), Mapping):
            merged[catalogue] = {
                name: _inherit(catalogue, str(name), merged[catalogue], []) for name in merged[catalogue]
            }
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(e) for e in error.errors())) from None


def _refuse_secrets(value: Any, key: str) -> None:
    """Raise ConfigError for a key that is named like a secret or a text that looks like one, without showing it."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            _refuse_secrets(str(name), f"{key or 'the configuration'} (a key of it)")
            _refuse_secrets(entry, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            _refuse_secrets(entry, f"{key}.{place}")
    elif isinstance(value, str) and (SECRET_TEXT.search(value) or SECRET_KEY.search(key)):
        raise ConfigError(
            f"{key}: looks like a secret, and a configuration is written into results; give it with `hf auth login` or"
            " in the environment, as HF_TOKEN."
        )


def _inherit(catalogue: str, name: str, entries: Mapping[str, Any], seen: list[str]) -> Any:
    entry = entries[name]
    if not isinstance(entry, Mapping) or "extends" not in entry:
        return entry
    parent = str(entry["extends"])
    if parent in [*seen, name]:
        raise ConfigError(f"{catalogue}.{name}.extends: {parent!r} leads back to itself.")
    if parent not in entries:
        raise ConfigError(f"{catalogue}.{name}.extends: {parent!r} is not there{_nearest(parent, entries)}.")
    inherited = _inherit(catalogue, parent, entries, [*seen, name])
    return {**inherited, **{key: value for key, value in entry.items() if key != "extends"}}


def _sentence(error: Any) -> str:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"] if part != "[key]"
    )
    key, value = path.lstrip(".") or "configuration", error.get("input")
    if error["type"] == "extra_forbidden":
        parent = _model_at(error["loc"][:-1])
        return f"{key}: unknown key{_nearest(str(error['loc'][-1]), parent.model_fields) if parent else ''}."
    if error["type"] == "missing":
        return f"{key}: this key is required."
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:] if message[:5] == "Input" else message
    if isinstance(value, (str, int, float, bool)) or value is None:
        return f"{key}: {value!r} is refused: {message}."
    return f"{key}: {message}." if key != "configuration" else f"{message}."


def _model_at(location: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model in which an unknown key stands, found by walking the annotations."""
    place: Any = Config
    for part in location:
        if isinstance(place, type) and issubclass(place, BaseModel):
            field = place.model_fields.get(str(part))
            place = field.annotation if field else None
        else:
            # an entry of a catalogue or list
            place = _arguments(place)[-1] if _arguments(place) else None
        inner = [a for a in _arguments(place) if isinstance(a, type) and issubclass(a, BaseModel)]
        if inner and get_origin(place) is not dict:
            place = inner[0]
    return place if isinstance(place, type) and issubclass(place, BaseModel) else None


def _arguments(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``overlay`` over ``base`` as Snakemake merges configuration files: mappings deep, all else replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def load(files: Iterable[Path]) -> Config:
    """The configuration of several YAML files, each over the ones before; raises ConfigError."""
    raw: dict[str, Any] = {}
    for file in files:
        try:
            found = yaml.safe_load(Path(file).read_text())
        except FileNotFoundError:
            raise ConfigError(f"{file}: no such configuration file.") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}.") from None
        if not isinstance(found or {}, Mapping):
            raise ConfigError(f"{file}: must hold a mapping of keys, not {type(found).__name__}.")
        raw = merge(raw, found or {})
    return resolve(raw)
