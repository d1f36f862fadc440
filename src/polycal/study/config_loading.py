"""From YAML files to a checked configuration: overlays, ``extends``, and messages about what is wrong."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from polycal.study import config_files, identities, local_sources, name_lengths
from polycal.study.config import Block, Config
from polycal.study.config_files import ConfigError
from polycal.study.config_secrets import secret_key
from polycal.study.config_values import read_as
from polycal.study.suggestions import nearest

EXTENDABLE = ("recipes", "protocols")
"""Catalogues in which an entry may extend another one."""


def load(files: Iterable[Path]) -> Config:
    """The configuration of several YAML files, each merged over the ones before.

    Raises ConfigError if a file cannot be read (``config_files.read``), or the merged configuration is wrong.
    """
    raw: dict[str, Any] = {}
    for file in files:
        raw = merge(raw, config_files.read(Path(file)))
    return resolve(raw)


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``overlay`` over ``base`` as in Snakemake: mappings are merged, all other values are replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def resolve(raw: Mapping[str, Any], *, local_files: bool = False) -> Config:
    """The checked configuration of a merged mapping; raises ConfigError with one line per error.

    With ``local_files`` the local models, data sets and benchmarks of the grid must exist too.

    A recipe or protocol with ``extends: NAME`` takes every key that it does not give from the entry NAME,
    which may itself extend another one.
    """
    if key := secret_key(raw):
        raise ConfigError(
            f"{key}: looks like a secret, and a configuration is written into results; give it with"
            " `hf auth login` or in the environment, as HF_TOKEN."
        )
    merged = dict(raw)
    for catalogue in EXTENDABLE:
        if isinstance(merged.get(catalogue), Mapping):
            merged[catalogue] = {
                name: _extended(catalogue, name, merged[catalogue], []) for name in merged[catalogue]
            }
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(details) for details in error.errors())) from None
    try:
        name_lengths.check_commands(_longest_cells(config))
    except ValueError as error:
        raise ConfigError(f"{error}.") from None
    if sentences := list(local_sources.missing(config)) if local_files else []:
        raise ConfigError("\n".join(sentences))
    return config


def _longest_cells(config: Config) -> Iterator[tuple[str, str]]:
    """(stage, JSON) of the cells that grow with the configuration. The rule ``partial`` has the first two."""
    yield "report", identities.measure(config) + identities.report(config, [])
    for name in sorted({name for block in config.grid.blocks() for name in block.data}):
        yield f"fetch_instructions of {name}", identities.fetch_instructions(config, name)


def _extended(catalogue: str, name: Any, entries: Mapping[str, Any], below: list[str]) -> Any:
    """The entry ``name`` with the keys of those that it extends; ``below`` are the entries that extend it."""
    entry = entries[name]
    if not isinstance(entry, Mapping) or "extends" not in entry:
        return entry
    parent = str(entry["extends"])
    if parent in [*below, name]:
        raise ConfigError(f"{catalogue}.{name}.extends: {parent!r} leads back to itself.")
    if parent not in entries:
        raise ConfigError(
            f"{catalogue}.{name}.extends: {parent!r} is not in the catalogue {catalogue!r}"
            f"{nearest(parent, entries)}."
        )
    inherited = _extended(catalogue, parent, entries, [*below, name])
    return {**inherited, **{key: value for key, value in entry.items() if key != "extends"}}


def _sentence(details: Any) -> str:
    """One of Pydantic's errors as a sentence that starts with the key's path."""
    parts = [part for part in details["loc"] if part != "[key]"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    key, value = path.lstrip(".") or "configuration", details.get("input")
    if details["type"] == "extra_forbidden":
        parent = Block if details["loc"][:2] == ("grid", "extra") else _model_at(details["loc"][:-1])
        return f"{key}: unknown key{nearest(str(details['loc'][-1]), parent.model_fields) if parent else ''}."
    if details["type"] == "missing":
        return f"{key}: this key is required."
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] in ("model_type", "dict_type"):
        message = "must be a mapping of keys"
    elif details["type"] == "string_type" and (reason := read_as(value)):
        message = f"{reason}: put the text in quotes"
    elif message.startswith("Input"):
        message = message[0].lower() + message[1:]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return f"{key}: {value!r} is refused: {message}."
    return f"{key}: {message}." if key != "configuration" else f"{message}."


def _model_at(location: tuple[Any, ...]) -> type[BaseModel] | None:
    """The Pydantic model at a location of the configuration, found by following the annotations."""
    annotation: Any = Config
    for part in location:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            # an entry of a catalogue or list
            annotation = _arguments(annotation)[-1] if _arguments(annotation) else None
        inner = [a for a in _arguments(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
        if inner and get_origin(annotation) is not dict:
            annotation = inner[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _arguments(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())
