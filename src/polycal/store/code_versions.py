"""Code versions: which version of polycal and of its runtime a stage's results were made with.

A stage's version is a hash over the syntax trees of every module of this package that it imports,
transitively, the data files it reads, and the locked versions of the distributions it names. Comments,
docstrings and formatting are not in the syntax tree as hashed here, so they change no version.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from polycal.errors import PolycalError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent.parent
LOCK = ROOT / "envs" / "cpu.lock"
ACCEPTED = ROOT / "config" / "accepted.yaml"

TRAINING = ("accelerate", "deepspeed", "tokenizers", "torch", "transformers", "trl")
INFERENCE = ("tokenizers", "torch", "transformers")
NUMBERS = ("numpy", "pandas", "pyarrow", "scipy")
DRAWING = ("jinja2", "matplotlib", "pandas", "seaborn")
ENTRY = ("stage", "old", "new", "because", "author", "commit", "date")
"""Keys of an acceptance."""


class VersionError(PolycalError):
    """A job that was planned with another version of the code than the one that runs."""


class AcceptanceError(VersionError):
    """An acceptance that cannot stand; the message says which and why."""


@dataclass(frozen=True)
class Stage:
    """What a stage's results depend on, beside its cell and inputs: modules, distributions, data files."""

    modules: tuple[str, ...]
    runtime: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())


STAGES = {
    "miniature_data": Stage(("miniature", "sources"), ("numpy",)),
    "miniature_model": Stage(("miniature",), INFERENCE),
    "fetch_model": Stage(("sources",), ("huggingface_hub",)),
    "fetch_instructions": Stage(("instructions",), ("datasets", "pyarrow", "pycld2")),
    "fetch_benchmark": Stage(("benchmarks",), ("datasets", "pyarrow")),
    "check_parallel": Stage(("benchmarks",), ("pyarrow",)),
    "finetune": Stage(("finetune",), TRAINING),
    "select_lr": Stage(("selection",)),
    "score": Stage(("scoring",), INFERENCE),
    "measure": Stage(("statistics",), NUMBERS),
    "embed": Stage(("embeddings",), INFERENCE),
    "diversity": Stage(("diversity",), NUMBERS),
    "next_token": Stage(("nexttoken",), INFERENCE),
    "tokens": Stage(("tokens",), NUMBERS),
    "present": Stage(("evidence", "further", "tables", "figures", "report"), DRAWING, ("templates/*",)),
}


def code_version(stage: str) -> str:
    """The version of a stage as it stands: 12 hexadecimal digits. Raises KeyError for an unknown stage."""
    return _version(stage, LOCK)


@functools.cache
def _version(stage: str, lock: Path) -> str:
    return hashlib.sha256(json.dumps(_parts(stage, lock), sort_keys=True).encode()).hexdigest()[:12]


def parts(stage: str) -> dict[str, dict[str, str]]:
    """What a stage's version is made of: ``modules`` and ``files`` with their hashes, ``runtime`` with its pins."""
    return _parts(stage, LOCK)


@functools.cache
def _parts(stage: str, lock: Path) -> dict[str, dict[str, str]]:
    known, pins = STAGES[stage], locked(lock)
    read = [path for pattern in known.files for path in sorted(PACKAGE.glob(pattern))]
    return {
        "modules": {name: _tree(name)[1] for name in sorted(reached(known.modules))},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in read},
        "runtime": {name: pins.get(name, "unlocked") for name in known.runtime},
    }


def reached(modules: tuple[str, ...]) -> set[str]:
    """Names of all modules of the package that ``modules`` import, themselves included."""
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += _tree(name)[0]
    return seen


@functools.cache
def _tree(name: str) -> tuple[tuple[str, ...], str]:
    """The package's modules that module ``name`` imports, and the hash of its syntax tree."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_bytes())
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module == "polycal" or node.level):
            imports |= (
                {alias.name for alias in node.names} if node.module in ("polycal", None) else {node.module}
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("polycal."):
            imports.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            imports |= {a.name.split(".")[1] for a in node.names if a.name.startswith("polycal.")}
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    here = tuple(sorted(m for m in imports if (PACKAGE / f"{m}.py").exists()))
    return here, hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@functools.cache
def locked(lock: Path) -> dict[str, str]:
    """Distribution → version of a lock file; empty where there is none."""
    if not lock.exists():
        return {}
    pairs = (line.split("==") for line in lock.read_text().splitlines() if "==" in line and line[0] != "#")
    return {name.strip().lower(): version.split(";")[0].strip() for name, version in pairs}


def acceptances(stage: str | None = None) -> list[dict[str, Any]]:
    """Reviewed entries of ``config/accepted.yaml``, all or those of a stage; each has the keys of ``ENTRY``.

    Raises AcceptanceError for an entry that lacks one, or a version that is accepted twice.
    """
    try:
        found = yaml.safe_load(ACCEPTED.read_text()) or []
    except FileNotFoundError:
        return []
    except yaml.YAMLError as error:
        raise AcceptanceError(f"{ACCEPTED}: not valid YAML: {' '.join(str(error).split())}.") from None
    seen: set[tuple[str, str]] = set()
    for number, entry in enumerate(found if isinstance(found, list) else [found]):
        where = f"{ACCEPTED}: entry {number}"
        if not isinstance(entry, Mapping) or (missing := [key for key in ENTRY if not entry.get(key)]):
            lacks = repr(missing[0]) if isinstance(entry, Mapping) else "a mapping"
            raise AcceptanceError(f"{where} lacks {lacks}; it needs {', '.join(ENTRY)}.")
        if (one := (str(entry["stage"]), str(entry["new"]))) in seen:
            raise AcceptanceError(
                f"{where}: version {one[1]} of {one[0]} is accepted twice; it may stand once."
            )
        seen.add(one)
    return [dict(entry) for entry in found if stage in (None, entry["stage"])]


def code_class(stage: str, version: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    """The version that stands for ``version`` (default: the present one) and the acceptances relied on.

    Each acceptance says that a newer version gives the results of an older one, so the oldest reached
    stands for all of them.
    """
    table = {entry["new"]: entry for entry in acceptances(stage)}
    now = version or code_version(stage)
    used: list[dict[str, Any]] = []
    while now in table and table[now] not in used:
        used.append(table[now])
        now = table[now]["old"]
    return now, used


def members(stage: str, known: str) -> list[str]:
    """All versions that acceptances make one with the class ``known``, itself first."""
    others = {entry[side] for entry in acceptances(stage) for side in ("old", "new")} - {known}
    return [known, *sorted(other for other in others if code_class(stage, other)[0] == known)]


def relied_on(stage: str, version: str) -> list[dict[str, Any]]:
    """The acceptances by which a result of ``version`` counts as one of the present version."""
    now, then = code_class(stage)[1], code_class(stage, version)[1]
    return [entry for entry in [*now, *then] if (entry in now) != (entry in then)]


def standing() -> list[str]:
    """The acceptances that the present versions of all stages stand on, as words."""
    return [f"{stage}: {entry['old']} → {entry['new']}" for stage in STAGES for entry in code_class(stage)[1]]


def without_effect() -> list[tuple[dict[str, Any], str]]:
    """Acceptances that join nothing to the present version of their stage, and why."""
    found = []
    for entry in acceptances():
        stage = entry["stage"]
        if stage not in STAGES:
            found.append((entry, f"there is no stage {stage!r}"))
        elif code_class(stage, entry["new"])[0] != code_class(stage)[0]:
            found.append((entry, f"{stage} is at version {code_version(stage)}, which is another by now"))
    return found
