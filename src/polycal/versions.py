"""Code versions: which version of polycal and of its runtime a stage's results were made with.

A stage's version is a hash over the syntax trees of every module of this package that it imports,
transitively, the data files it reads, and the locked versions of the distributions it names. Comments,
docstrings and formatting are not in the syntax tree as hashed here, so they change no version.
"""

import ast
import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import yaml

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent.parent
LOCK = ROOT / "envs" / "cpu.lock"
ACCEPTED = ROOT / "config" / "accepted.yaml"

TRAINING = ("accelerate", "deepspeed", "tokenizers", "torch", "transformers", "trl")
INFERENCE = ("tokenizers", "torch", "transformers")
NUMBERS = ("numpy", "pandas", "pyarrow", "scipy")
DRAWING = ("jinja2", "matplotlib", "pandas", "seaborn")


@dataclass(frozen=True)
class Stage:
    """What a stage's results depend on, beside its cell and inputs: modules, distributions, data files."""

    modules: tuple[str, ...]
    runtime: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())


STAGES = {
    "miniature_data": Stage(("miniature",), ("numpy",)),
    "miniature_model": Stage(("miniature",), INFERENCE),
    "fetch_model": Stage(("sources",), ("huggingface_hub",)),
    "fetch_instructions": Stage(("instructions",), ("datasets", "pyarrow", "pycld2")),
    "fetch_benchmark": Stage(("benchmarks",), ("datasets", "pyarrow")),
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
    known = STAGES[stage]
    digest = hashlib.sha256()
    for name in sorted(reached(known.modules)):
        digest.update(f"{name} {_tree(name)[1]}\n".encode())
    for pattern in known.files:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    pins = locked(lock)
    for name in known.runtime:
        digest.update(f"{name}=={pins.get(name, 'unlocked')}\n".encode())
    return digest.hexdigest()[:12]


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


def acceptances(stage: str) -> list[dict[str, str]]:
    """Reviewed entries of ``config/accepted.yaml`` for a stage: old, new, because, author, commit, date."""
    if not ACCEPTED.exists():
        return []
    return [entry for entry in yaml.safe_load(ACCEPTED.read_text()) or [] if entry["stage"] == stage]


def code_class(stage: str, version: str | None = None) -> tuple[str, list[dict[str, str]]]:
    """The version that stands for ``version`` (default: the present one) and the acceptances relied on.

    Each acceptance says that a newer version gives the results of an older one, so the oldest reached
    stands for all of them.
    """
    table = {entry["new"]: entry for entry in acceptances(stage)}
    now = version or code_version(stage)
    used: list[dict[str, str]] = []
    while now in table and table[now] not in used:
        used.append(table[now])
        now = table[now]["old"]
    return now, used
