"""Describe what has changed since a result was made: its settings, code and inputs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.audit.expected_results import ExpectedResult
from polycal.store import code_versions
from polycal.study import paths


def setting_changes(old: Any, new: Any) -> list[str]:
    """One line for each changed key of a cell, such as ``settings.epochs: 2 → 1``."""
    was, now = dict(_flat("", old)), dict(_flat("", new))
    lines = []
    for key in sorted(was.keys() | now.keys()):
        if key not in was:
            lines.append(f"{key}: new, {_short(now[key])}")
        elif key not in now:
            lines.append(f"{key}: gone, was {_short(was[key])}")
        elif was[key] != now[key]:
            lines.append(f"{key}: {_difference(was[key], now[key])}")
    return lines


def _flat(at: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from _flat(f"{at}.{key}" if at else str(key), value[key])
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _flat(f"{at}[{number}]", item)
    else:
        yield at, value


def _difference(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list) and len(old) + len(new) > 8:
        added, gone = ([_short(x) for x in one if x not in other] for one, other in ((new, old), (old, new)))
        changes = [f"with {', '.join(added)}"] * bool(added) + [f"without {', '.join(gone)}"] * bool(gone)
        return " and ".join(changes) or "in another order"
    return f"{_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else files.canonical_json(value)
    return text if len(text) <= 80 else text[:77] + "..."


def code_changes(stage: str, made: str, now: str) -> list[str]:
    """One line for each module, data file and locked package that differs between two versions of a stage.

    ``made`` is the version that made a result and ``now`` the present version. If it is not recorded what
    ``made`` consists of, the one line gives both versions.
    """
    path = Path(paths.CODE_PARTS) / f"{stage}-{made}.json"
    try:
        old = json.loads(path.read_text())
        was_parts = {kind: dict(old.get(kind, {})) for kind in ("modules", "files", "runtime")}
    except (OSError, ValueError, TypeError, AttributeError):
        return [f"code of {stage}: version {made} → {now} (what version {made} consists of is not recorded)"]
    new, lines = code_versions.parts(stage), []
    for kind, word in (("modules", "module"), ("files", "file")):
        was, is_now = was_parts[kind], new[kind]
        lines += [f"{word} {n} changed" for n in sorted(was.keys() & is_now.keys()) if was[n] != is_now[n]]
        lines += [f"{word} {n} is new" for n in sorted(is_now.keys() - was.keys())]
        lines += [f"{word} {n} is no longer used" for n in sorted(was.keys() - is_now.keys())]
    was, is_now = was_parts["runtime"], new["runtime"]
    for name in sorted(was.keys() | is_now.keys()):
        if was.get(name) != is_now.get(name):
            lines.append(f"locked version of {name}: {was.get(name, 'none')} → {is_now.get(name, 'none')}")
    return lines or [f"code of {stage}: version {made} → {now}"]


def input_changes(result: ExpectedResult, was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line for each input whose checksum differs between ``was`` and ``now``."""
    lines = []
    for role in sorted(was.keys() | now.keys()):
        name = f"{role} ({result.inputs[role]})" if result.inputs.get(role, role) != role else role
        if role not in was:
            lines.append(f"input {name} is new")
        elif role not in now:
            lines.append(f"input {name} is no longer read")
        elif was[role] != now[role]:
            lines.append(f"input {name} has other content")
    return lines
