"""Reads one YAML file of a configuration. Refuses text that YAML would silently read as something else."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent

from polycal.errors import PolycalError

DECIMAL = r"[-+]?(0|[1-9][0-9]*)"
"""A whole number in plain decimal digits. YAML also reads 010 as 8, 0x10 as 16, 1_0 as 10 and 1:30 as 90."""


class ConfigError(PolycalError):
    """A configuration that cannot run. Each line of the message names a key, its value and what would be right."""


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises ConfigError if the file is missing, is not UTF-8 text, not valid YAML or not a mapping, if a mapping has
    a key twice, if an anchor contains itself, and if a whole number is not in plain decimal digits.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = _Loader(text).get_single_data()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} is not UTF-8; a configuration is UTF-8 text."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: lists or mappings are nested too deeply.") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}; put it in quotes if it is text.") from None
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path}: must contain a mapping of keys, not a {type(content).__name__}.")
    return content or {}


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses repeated keys, recursive anchors and unusual spellings of numbers."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open_anchors: list[str | None] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(AliasEvent) and (event := self.peek_event()).anchor in self._open_anchors:
            raise ComposerError(None, None, f"the anchor {event.anchor!r} contains itself", event.start_mark)
        return super().compose_node(parent, index)

    def compose_sequence_node(self, anchor: Any) -> Any:
        self._open_anchors.append(anchor)
        node = super().compose_sequence_node(anchor)
        self._open_anchors.pop()
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        self._open_anchors.append(anchor)
        node = super().compose_mapping_node(anchor)
        self._open_anchors.pop()
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ComposerError(
                        None, None, f"the key {key.value!r} is given twice; give it once", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node

    def construct_yaml_int(self, node: Any) -> int:
        if not re.fullmatch(DECIMAL, node.value):
            raise ConstructorError(
                None,
                None,
                f"{node.value} is not in plain decimal digits; write it so, or put it in quotes",
                node.start_mark,
            )
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: Any) -> float:
        if ":" in node.value:
            raise ConstructorError(
                None, None, f"{node.value} is not a decimal number; put it in quotes", node.start_mark
            )
        return super().construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
