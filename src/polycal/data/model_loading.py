"""Loading a causal language model and its tokenizer from a local folder, exactly as saved or not at all.

No code of a folder is run and nothing is downloaded.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from polycal.artifacts import weight_files
from polycal.data import token_ids
from polycal.errors import CellError, LanguageError

NAMED = 3
"""Tensors that an error names; it counts the others."""
DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
"""Names of the dropout of attention in configurations."""
CHUNK = 1000
"""Texts that are tokenized together."""
MAX_REASON = 300
"""Longest part of a message of another library that an error repeats."""
MAX_FIRST_LINE = 200
"""Longest part of its first line."""


class ModelError(CellError):
    """A model that cannot be loaded as it was saved; the message names the tensors or tokens."""


class TokenIdError(ModelError, LanguageError):
    """A text with a token for which the model has no embedding."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises CheckpointError if the files of the folder are not whole, so that this is known before any text is
    tokenized, and ModelError if transformers cannot read the tokenizer.
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
    """The model of a folder, with the weights of its files in ``dtype``.

    ``device_map`` is as accelerate takes it; None loads to the CPU, where weights of the same type are the
    memory-mapped file and nothing is copied. ``dropout`` replaces the saved dropout of attention.

    Raises CheckpointError if the files are not whole (``weight_files.check``), and ModelError for tensors that are
    missing, of another shape, not part of the model or not finite, for ordinary tokens of ``tokenizer`` without an
    embedding, and for a model that transformers cannot load or that has no such dropout. What transformers ties or
    ignores by the model's own rules is neither missing nor unexpected.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    weight_files.check(folder)
    try:
        config = None if dropout is None else _config_with_dropout(folder, dropout)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            device_map=device_map,
            # mismatched tensors are refused below, in one sentence
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: transformers cannot load the model: {_one_line(error)}") from error
    model, report = loaded
    _check_report(folder, report)
    _check_finite(folder, model)
    _check_vocabulary(folder, model, tokenizer)
    return model


def _config_with_dropout(folder: Path, dropout: float) -> Any:
    """The configuration of a model with this dropout of attention, in its text part if it has several parts."""
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
    """Family and class of a model, for messages."""
    return f"{model.config.model_type} ({type(model).__name__})"


def describe_error(error: Exception) -> str:
    """Kind and first line of an error of another library, for messages."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:MAX_FIRST_LINE]}"


def are_finite(tensors: Iterable[Any]) -> bool:
    """Whether all numbers of the tensors are finite."""
    import torch

    ends = []
    for tensor in tensors:
        if tensor.numel() and tensor.is_floating_point():
            # one pass without a copy; a NaN is passed on to both ends
            ends += [end.double() for end in torch.aminmax(tensor)]
    return not ends or bool(torch.isfinite(torch.stack(ends)).all())


def embedding_rows(model: Any) -> int:
    """Number of token ids that a model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])


def check_texts(model: Any, tokenizer: Any, texts: Mapping[str, Iterable[str]]) -> None:
    """Raise ModelError if a text contains a token without an embedding. ``texts`` are by the name of their file."""
    # Nearly all models have an embedding for each token, and then no text need be read.
    if max(tokenizer.get_vocab().values()) >= embedding_rows(model):
        encode = token_ids.Encoder(tokenizer)
        for where, of_file in texts.items():
            remaining = iter(of_file)
            while chunk := list(islice(remaining, CHUNK)):
                largest = max(chain.from_iterable(encode(chunk)), default=0)
                check_token_id(model, tokenizer, largest, where)


def check_token_id(model: Any, tokenizer: Any, largest: int, where: str) -> None:
    """Raise ModelError if the largest token id of some texts has no embedding; ``where`` names the texts."""
    rows = embedding_rows(model)
    if largest >= rows:
        raise TokenIdError(
            f"{where}: contains the token {tokenizer.convert_ids_to_tokens(int(largest))!r} with id {largest},"
            f" but the model has {rows} embeddings; use the tokenizer that was saved with these weights."
        )


def _check_report(folder: Path, report: Mapping[str, Collection[Any]]) -> None:
    """Raise ModelError for tensors that the model and the files do not share, by transformers' report."""
    mismatched = {f"{name} {tuple(saved)} for {tuple(own)}" for name, saved, own in report["mismatched_keys"]}
    reasons = {
        "are missing from the weights": report["missing_keys"],
        "have another shape than config.json says": mismatched,
        "are no part of the model that config.json describes": report["unexpected_keys"],
    }
    for reason, names in reasons.items():
        if names:
            listed = ", ".join(sorted(names)[:NAMED]) + (", …" if len(names) > NAMED else "")
            raise ModelError(
                f"{folder}: tensors {reason} ({len(names)}: {listed}); config.json and weights must be of the"
                " same model."
            )


def _check_finite(folder: Path, model: Any) -> None:
    """Raise ModelError for weights with NaN or infinity. Weights that accelerate has offloaded are not seen."""
    seen = set()
    for name, tensor in model.state_dict().items():
        if tensor.is_meta or tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        if not are_finite([tensor]):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ModelError(
                f"{folder}: {name} holds values that are not finite in {kind};"
                " the weights are broken or need a wider dtype."
            )


def _check_vocabulary(folder: Path, model: Any, tokenizer: Any) -> None:
    """Raise ModelError if ordinary tokens have no embedding.

    Added tokens may be beyond the table: many checkpoints have such a padding token, which no prompt contains.
    ``check_texts`` and ``check_token_id`` refuse them where a text contains them.
    """
    rows, added = embedding_rows(model), set(tokenizer.added_tokens_decoder)
    beyond = [token for token in tokenizer.get_vocab().values() if token >= rows and token not in added]
    if beyond:
        raise ModelError(
            f"{folder}: {len(beyond)} tokens of the tokenizer have ids up to {max(beyond)}, but the model has"
            f" {rows} embeddings; use the tokenizer that was saved with these weights."
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:MAX_REASON] or type(error).__name__
