"""One YAML file of a configuration, refused where YAML would silently read something else than is written."""

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
"""A whole number as everybody reads it. YAML reads 010 as 8, 0x10 as 16, 1_0 as 10 and 1:30 as 90."""


class ConfigError(PolycalError):
    """A configuration that cannot run; each line names the key, its value and what would be right."""


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises ConfigError if the file is missing, no UTF-8 text, not valid YAML or no mapping, and for a key that is
    there twice, an anchor that contains itself, and whole numbers that are not in plain decimal digits.
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
        raise ConfigError(f"{path}: not valid YAML: {error}; put it in quotes if it is a text.") from None
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path}: must contain a mapping of keys, not a {type(content).__name__}.")
    return content or {}


class _Loader(yaml.SafeLoader):
    """A safe loader that takes nothing twice and no number for another."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[str | None] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(AliasEvent) and (event := self.peek_event()).anchor in self._open:
            raise ComposerError(None, None, f"the anchor {event.anchor!r} contains itself", event.start_mark)
        return super().compose_node(parent, index)

    def compose_sequence_node(self, anchor: Any) -> Any:
        self._open.append(anchor)
        node = super().compose_sequence_node(anchor)
        self._open.pop()
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        self._open.append(anchor)
        node = super().compose_mapping_node(anchor)
        self._open.pop()
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ComposerError(
                        None, None, f"the key {key.value!r} is there twice, give it once", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node

    def construct_yaml_int(self, node: Any) -> int:
        if not re.fullmatch(DECIMAL, node.value):
            raise ConstructorError(
                None,
                None,
                f"{node.value} is no whole number in plain decimal digits; write it so, or in quotes",
                node.start_mark,
            )
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: Any) -> float:
        if ":" in node.value:
            raise ConstructorError(
                None, None, f"{node.value} is no decimal number; put it in quotes", node.start_mark
            )
        return super().construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
