"""Makes a checked configuration from YAML files: overlays, ``extends``, and messages about errors."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from polycal.study import config_files, identities, local_sources, name_lengths
from polycal.study.config import Block, Config
from polycal.study.config_files import ConfigError
from polycal.study.config_secrets import secret_key
from polycal.study.config_values import yaml_reading
from polycal.study.suggestions import nearest, with_full_stop

EXTENDABLE = ("recipes", "protocols")
"""Catalogues in which an entry may extend another one."""


def load(files: Iterable[Path]) -> Config:
    """The configuration in several YAML files, each merged over those before it.

    Raises ConfigError if a file cannot be read (``config_files.read``) or the merged configuration is wrong.
    """
    raw: dict[str, Any] = {}
    for file in files:
        raw = merge(raw, config_files.read(Path(file)))
    return resolve(raw)


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` changed by ``overlay`` as in Snakemake: mappings are merged, all other values are replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def resolve(raw: Mapping[str, Any], *, local_files: bool = False) -> Config:
    """The checked configuration of a merged mapping. Raises ConfigError with one line for each error.

    A recipe or protocol with ``extends: NAME`` takes the keys that it does not give from the entry NAME. That
    entry may itself extend another one. With ``local_files``, the local models, data sets and benchmarks of the
    grid must exist.
    """
    if key := secret_key(raw):
        raise ConfigError(
            f"{key}: looks like a secret, but a configuration is written into results; give the secret with"
            " `hf auth login` or in the environment variable HF_TOKEN."
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
    """(stage, JSON) of each cell whose length grows with the configuration. The rule ``partial`` gets two in one."""
    yield "report", identities.measure(config) + identities.report(config, [])
    for name in sorted({name for block in config.grid.blocks() for name in block.data}):
        yield f"fetch_instructions of {name}", identities.fetch_instructions(config, name)


def _extended(catalogue: str, name: Any, entries: Mapping[str, Any], extending: list[str]) -> Any:
    """The entry ``name`` with the keys of those that it extends; ``extending`` are the entries that extend it."""
    entry = entries[name]
    if not isinstance(entry, Mapping) or "extends" not in entry:
        return entry
    parent = str(entry["extends"])
    if parent in [*extending, name]:
        raise ConfigError(
            f"{catalogue}.{name}.extends: {parent!r} extends itself; name an entry that does not lead back here."
        )
    if parent not in entries:
        problem = f"{parent!r} is not in the catalogue {catalogue!r}{nearest(parent, entries)}"
        raise ConfigError(with_full_stop(f"{catalogue}.{name}.extends: {problem}"))
    inherited = _extended(catalogue, parent, entries, [*extending, name])
    return {**inherited, **{key: value for key, value in entry.items() if key != "extends"}}


def _sentence(details: Any) -> str:
    """One of Pydantic's errors as a sentence that begins with the path of the key."""
    return with_full_stop(_problem(details))


def _problem(details: Any) -> str:
    parts = [part for part in details["loc"] if part != "[key]"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    key, value = path.lstrip(".") or "configuration", details.get("input")
    if details["type"] == "extra_forbidden":
        parent = Block if details["loc"][:2] == ("grid", "extra") else _model_at(details["loc"][:-1])
        return f"{key}: unknown key{nearest(str(details['loc'][-1]), parent.model_fields) if parent else ''}"
    if details["type"] == "missing":
        return f"{key}: this key is required"
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] in ("model_type", "dict_type"):
        message = "must be a mapping of keys"
    elif details["type"] == "string_type" and (reason := yaml_reading(value)):
        message = f"{reason}: put the text in quotes"
    elif message.startswith("Input"):
        message = message[0].lower() + message[1:]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return f"{key}: {value!r} is refused: {message}"
    return f"{key}: {message}" if key != "configuration" else message


def _model_at(location: tuple[Any, ...]) -> type[BaseModel] | None:
    """The Pydantic model of the mapping at a location of the configuration; None if there is none."""
    annotation: Any = Config
    for part in location:
        if _is_model(annotation):
            field = annotation.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            # The location is a name in a catalogue or an index of a list.
            annotation = _arguments(annotation)[-1] if _arguments(annotation) else None
        options = [option for option in _arguments(annotation) if _is_model(option)]
        if options and get_origin(annotation) is not dict:
            annotation = options[0]
    return annotation if _is_model(annotation) else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _arguments(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())
