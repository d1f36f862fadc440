"""The fields of manifests, as pydantic models. They check manifests and give the published JSON schema.

The docstrings and descriptions here are copied to ``workflow/schemas/manifest.schema.json``. The manifest
of a Parquet file is the JSON object ``polycal`` in its metadata. All other manifests are JSON files. The
manifest of a stage contains all fields of its model and may contain more.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Amount = Annotated[float, Field(ge=0)]


class Cost(BaseModel):
    """The cost of a result. The first result of a job includes the time to import code and load the model."""

    wall_seconds: Amount
    cpu_seconds: Amount = Field(description="Of the writing process and its ended children.")
    gpus: int = Field(ge=0, description="Devices computed on, one a rank.")
    gpu_seconds: Amount = Field(description="Wall time times devices; 0 on a CPU.")
    peak_memory_bytes: int = Field(ge=0, description="Resident memory of the process, at its highest so far.")
    queue_seconds: Amount | None = Field(description="Wait in Slurm's queue, once a job; null where unknown.")


class Attempts(BaseModel):
    """Earlier attempts at the same result that failed."""

    failed: int = Field(ge=1)
    wall_seconds: Amount
    gpu_seconds: Amount = Field(description="Wall time times the devices allotted.")


class File(BaseModel):
    """The size and checksum of a file of a result."""

    bytes: int = Field(ge=0)
    sha256: Sha256


class Manifest(BaseModel):
    """The fields that every manifest contains."""

    model_config = ConfigDict(extra="allow")

    stage: str
    cell: dict[str, Any] = Field(description="All settings that determine the result.")
    fingerprint: Sha256 = Field(description="sha256 over cell, code and reads: the name of kept work.")
    code: Version = Field(description="Class of the stage's code, after acceptances.")
    code_version: Version = Field(description="Version of the stage's code that really ran.")
    acceptances: list[dict[str, Any]] = Field(description="What joins code_version to code.")
    reads: dict[str, str] = Field(description="Content checksum of each thing that was read.")
    commit: str | None = Field(pattern=r"^[0-9a-f]{40,64}$", description="Of the code; null outside of git.")
    dirty: bool | None = Field(description="Whether tracked files differed from the commit.")
    lock: Sha256 | None = Field(description="Checksum of the lock file; null without one.")
    host: str
    python: str
    job: str | None = Field(description="Slurm's job id.")
    started: AwareDatetime
    cost: Cost
    attempts: Attempts | None = Field(None, description="Where some failed before this one.")


class Failure(BaseModel):
    """Why a result could not be produced."""

    stage: str = Field(description="The stage that failed first.")
    reason: str = Field(min_length=1, description="Its sentence.")


class Failed(Manifest):
    """A failed result: what a stage writes instead of a result that no further attempt could produce."""

    status: Literal["failed"]
    failure: Failure


class Fetched(Manifest):
    """Data or a model from the hub at a pinned commit, from packages, a local path, or the miniature."""

    source: dict[str, str | list[str]]
    files: dict[str, File]
    content: Sha256 = Field(description="Checksum of what later stages read of it.")


class Converted(BaseModel):
    """The conversion of a GGUF file to a model folder."""

    file: str = Field(description="Name of the GGUF file.")
    sha256: Sha256 = Field(description="Of the GGUF file.")
    weights: dict[str, int] = Field(description="Number of weights of each type in the GGUF file.")
    bits: Amount = Field(description="Mean bits per weight in the GGUF file.")
    dtype: str = Field(description="Type of all weights in the folder.")


class ModelManifest(Fetched):
    """A base model."""

    folder: str = Field(description="Where its files lie, beside the manifest unless absolute.")
    revision: str | None = Field(description="Commit of the hub.")
    converted: Converted | None = Field(None, description="Only if the model was in GGUF.")


class LossCheck(BaseModel):
    """Check before training: the loss at beta 0, compared with cross-entropy over the model's own logits."""

    loss_difference: Amount = Field(description="Relative to the loss and the largest logit.")
    gradient_difference: Amount = Field(description="Of one weight, relative to the gradient's norm.")
    tolerance: Amount = Field(description="Of both.")
    weight: str = Field(description="The weight whose gradient was compared.")
    tokens: int = Field(ge=1, description="Targets that were compared.")


class Speed(BaseModel):
    """Speed of the steps of a training's last run. No checksum depends on it."""

    seconds: Amount = Field(description="Time of the steps, without saving.")
    tokens_per_second: Amount = Field(description="Tokens of conversations, without padding.")
    flops_per_second: Amount = Field(description="FLOPs of forward and backward pass, without recomputation.")
    mfu: Amount | None = Field(description="Share of the devices' peak; null where the peak is not known.")
    padding_share: Amount = Field(description="Share of padding in the computed tokens.")
    saving_share: Amount = Field(description="Share of the time that was spent on saving the state.")


class Trained(Manifest):
    """A fine-tuned checkpoint."""

    content: Sha256 = Field(description="Checksum over the names and checksums of its files.")
    files: dict[str, File]
    folder: str
    ranks: int = Field(ge=1)
    zero_stage: int = Field(ge=0, le=3)
    steps: int = Field(ge=1)
    global_batch_size: int = Field(ge=1)
    micro_batch_size: int | None = Field(None, ge=1, description="Null if the recipe counts tokens.")
    tokens_per_micro_batch: int | None = Field(
        None, ge=1, description="Null if the recipe counts conversations."
    )
    self_check: LossCheck | None = Field(None, description="Null in manifests of earlier versions.")
    speed: Speed | None = Field(None, description="Null in manifests of earlier versions.")


class Pretrained(Manifest):
    """A pre-trained base model of the miniature."""

    content: Sha256
    files: dict[str, File]
    folder: str
    gate: dict[str, dict[str, float]] = Field(description="What it reached on each benchmark.")


class FilesManifest(Manifest):
    """Several files made by one job: the miniature's data, or the tables, figures and report of a study."""

    files: dict[str, File]


class WorldVariant(BaseModel):
    """A variant of the benchmark world."""

    questions: dict[str, dict[str, int]] = Field(description="Number of questions by group and split.")
    equal_to_english: dict[str, dict[str, Annotated[float, Field(ge=0, le=1)]]] = Field(
        description="For each language, the share of candidates that are spelled as in English, by group."
    )


class WorldManifest(FilesManifest):
    """The questions of the benchmark world."""

    variants: dict[str, WorldVariant]
    open: dict[str, dict[str, dict[str, int]]] = Field(
        {}, description="For each variant without options, the number of questions by group and split."
    )


class Selected(Manifest):
    """The learning rate whose checkpoint is scored."""

    lr: str
    manifest: str = Field(description="The chosen checkpoint's manifest, from here.")
    heldout_nll: dict[str, float]
    failed: dict[str, str] = Field({}, description="Learning rates whose training failed, with the reason.")


class SelfCheck(BaseModel):
    """Check before a run: polycal's numbers for a few prompts, compared with the model's own forward pass."""

    path: Literal["fast", "plain", "single"] = Field(
        description="The run's way through the model: polycal's own passes, or the model's own forward on"
        " padded rows or on one row at a time."
    )
    max_difference: Amount = Field(description="Of the value nearest to its tolerance, on this path.")
    tolerance: Amount = Field(description="Of that value.")
    prompts: int = Field(ge=0, description="Prompts or conversations that were compared.")
    values: int = Field(ge=0, description="Numbers that were compared.")
    seconds: Amount
    because: dict[str, str] = Field(description="Why the paths before it are not exact, by path.")


class Scores(Manifest):
    """The scores of one checkpoint on one language of a benchmark."""

    content: Sha256 = Field(description="Checksum over the rows.")
    checkpoint: Sha256 = Field(description="Content of the model that was asked.")
    device: str
    questions: int = Field(ge=0)
    self_check: SelfCheck | None = Field(None, description="Null in records of earlier versions.")


class RowsManifest(Manifest):
    """A Parquet file whose rows have a checksum."""

    content: Sha256


class ModelRows(RowsManifest):
    """Prompt embeddings or next-token scores of one checkpoint."""

    self_check: SelfCheck | None = Field(None, description="Null in records of earlier versions.")


class TableManifest(RowsManifest):
    """A table of embedding diversity or of next-token calibration."""

    table: str


class Measured(Manifest):
    """A table of metrics over the score records of a study."""

    content: Sha256
    table: str
    settings: dict[str, Any]
