"""Load a causal language model and its tokenizer from a local folder, exactly as saved or not at all.

No code in the folder is run, and nothing is downloaded.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from polycal.artifacts import weight_files
from polycal.data import float32_library, token_ids
from polycal.errors import CellError, LanguageError

MAX_NAMES = 3
"""Number of tensors that an error lists by name. The others are only counted."""
DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
"""Names of the attention dropout in the configurations of transformers."""
CHUNK = 1000
"""Number of texts that are tokenized together."""
MAX_REASON = 300
"""Number of characters of another library's error message that are repeated."""
MAX_FIRST_LINE = 200
"""Number of characters of the first line of such a message that are repeated."""


class ModelError(CellError):
    """A model cannot be loaded as it was saved."""


class TokenIdError(ModelError, LanguageError):
    """A text contains a token for which the model has no embedding."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model folder.

    All files of the folder are checked first (``weight_files.check``), so that a broken model is refused
    before any text is tokenized. Raises CheckpointError if a file is missing or incomplete, and ModelError if
    transformers cannot load the tokenizer.
    """
    from transformers import AutoTokenizer

    weight_files.check(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise ModelError(f"{folder}: the tokenizer cannot be loaded: {_one_line(error)}") from error


def load_model(
    folder: Path,
    tokenizer: Any,
    *,
    dtype: str,
    attention: str,
    device_map: str | Mapping[str, str | int] | None = None,
    dropout: float | None = None,
) -> Any:
    """The model in a folder, with the weights in ``dtype``.

    ``tokenizer`` must come from ``load_tokenizer``, which checks the files of the folder. ``device_map`` is
    that of accelerate. With None the model is on the CPU, and weights that are saved in ``dtype`` are
    memory-mapped and not copied. ``dropout`` replaces the saved attention dropout. The library of this process for
    products on the CPU is chosen for this model (``float32_library``).

    Raises ModelError if transformers cannot load the model, if tensors are missing, of another shape, not
    part of the model or not finite, if ordinary tokens of ``tokenizer`` have no embedding, and if ``dropout``
    is above 0 but the model has no attention dropout. Tensors that transformers ties or ignores by the rules
    of the model are neither missing nor unexpected.
    """
    from transformers import AutoModelForCausalLM

    with transformers_errors(folder):
        config = None if dropout is None else _config_with_dropout(folder, dropout)
        model, report = from_pretrained(
            AutoModelForCausalLM, folder, config, dtype=dtype, attention=attention, device_map=device_map
        )
    _check_report(folder, report)
    check_finite(folder, model)
    _check_vocabulary(folder, model, tokenizer)
    float32_library.choose(getattr(model.config.get_text_config(), "hidden_size", 0))
    return model


@contextmanager
def transformers_errors(folder: Path) -> Iterator[None]:
    """Raise ModelError if transformers cannot load a configuration or a model from a folder."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: transformers cannot load the model: {_one_line(error)}") from error


def from_pretrained(
    kind: Any,
    folder: Path,
    config: Any,
    *,
    dtype: str,
    attention: str,
    device_map: str | Mapping[str, str | int] | None = None,
) -> tuple[Any, Any]:
    """A model of ``kind``, an automatic class of transformers, and transformers' report of its tensors.

    The caller checks the report: it names tensors that are missing, of another shape or not part of the model. Errors
    are those of transformers.
    """
    import torch

    loaded: tuple[Any, Any] = kind.from_pretrained(
        folder,
        config=config,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        device_map=device_map,
        # The caller refuses tensors of another shape with a clearer message.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    return loaded


def _config_with_dropout(folder: Path, dropout: float) -> Any:
    """The configuration of a model with this attention dropout, in its text part if it has several parts."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text = config.get_text_config()
    name = next((name for name in DROPOUTS if hasattr(text, name)), None)
    if name is not None:
        setattr(text, name, dropout)
    elif dropout:
        raise ModelError(f"{folder}: {config.model_type} has no dropout of attention; set dropout to 0.")
    return config


def describe(model: Any) -> str:
    """The family and class of a model, for messages."""
    return f"{model.config.model_type} ({type(model).__name__})"


def describe_error(error: Exception) -> str:
    """The class and the first line of another library's error, for messages."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:MAX_FIRST_LINE]}"


def are_finite(tensors: Iterable[Any]) -> bool:
    """Whether no tensor contains NaN or infinity."""
    import torch

    extremes = []
    for tensor in tensors:
        if tensor.numel() and tensor.is_floating_point():
            # This is one pass without a copy. If a value is NaN, minimum and maximum are NaN.
            extremes += [extreme.double() for extreme in torch.aminmax(tensor)]
    return not extremes or bool(torch.isfinite(torch.stack(extremes)).all())


def embedding_rows(model: Any) -> int:
    """The number of token ids for which a model has an embedding."""
    return int(model.get_input_embeddings().weight.shape[0])


def check_texts(model: Any, tokenizer: Any, texts: Mapping[str, Iterable[str]]) -> None:
    """Raise TokenIdError if a text contains a token without an embedding.

    ``texts`` maps file names to texts.
    """
    # Nearly all models have an embedding for each token. Then no text needs to be read.
    if max(tokenizer.get_vocab().values()) >= embedding_rows(model):
        encode = token_ids.Encoder(tokenizer)
        for where, file_texts in texts.items():
            remaining = iter(file_texts)
            while chunk := list(islice(remaining, CHUNK)):
                largest = max(chain.from_iterable(encode(chunk)), default=0)
                check_token_id(model, tokenizer, largest, where)


def check_token_id(model: Any, tokenizer: Any, largest: int, where: str) -> None:
    """Raise TokenIdError if the largest token id in some texts has no embedding.

    ``where`` names the texts.
    """
    rows = embedding_rows(model)
    if largest >= rows:
        raise TokenIdError(
            f"{where}: contains the token {tokenizer.convert_ids_to_tokens(int(largest))!r} with id {largest},"
            f" but the model has {rows} embeddings; use the tokenizer that was saved with these weights."
        )


def _check_report(folder: Path, report: Mapping[str, Collection[Any]]) -> None:
    """Raise ModelError if transformers reports tensors that differ between the model and the files."""
    mismatched = {
        f"{name} {tuple(saved)} for {tuple(expected)}" for name, saved, expected in report["mismatched_keys"]
    }
    reasons = {
        "are missing from the weights": report["missing_keys"],
        "have another shape than in config.json": mismatched,
        "are not part of the model that config.json describes": report["unexpected_keys"],
    }
    for reason, names in reasons.items():
        if names:
            listed = ", ".join(sorted(names)[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
            raise ModelError(
                f"{folder}: tensors {reason} ({len(names)}: {listed}); config.json and weights must be of the"
                " same model."
            )


def check_finite(folder: Path, model: Any) -> None:
    """Raise ModelError if a weight is NaN or infinite.

    Weights that accelerate has offloaded are not checked.
    """
    checked = set()
    for name, tensor in model.state_dict().items():
        if tensor.is_meta or tensor.data_ptr() in checked:
            continue
        checked.add(tensor.data_ptr())
        if not are_finite([tensor]):
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise ModelError(
                f"{folder}: {name} contains values that are not finite in {dtype};"
                " the weights are broken or need a wider dtype."
            )


def _check_vocabulary(folder: Path, model: Any, tokenizer: Any) -> None:
    """Raise ModelError if ordinary tokens have no embedding.

    Added tokens may have none: in many checkpoints this is the padding token, which no prompt contains.
    ``check_texts`` and ``check_token_id`` refuse texts that contain such a token.
    """
    rows, added = embedding_rows(model), set(tokenizer.added_tokens_decoder)
    missing = [token for token in tokenizer.get_vocab().values() if token >= rows and token not in added]
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} tokens of the tokenizer have ids up to {max(missing)}, but the model has"
            f" {rows} embeddings; use the tokenizer that was saved with these weights."
        )


def _one_line(error: Exception) -> str:
    """The message of another library's error in one line, or its class if it has no message."""
    return " ".join(str(error).split())[:MAX_REASON] or type(error).__name__
