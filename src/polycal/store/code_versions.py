"""Code versions: which code of polycal, and which versions of other packages, made a result.

The version of a stage is a hash of three things:

- the syntax tree of each module of polycal that its entry function imports, directly or indirectly,
- the data files that the stage declares,
- the versions in the lock file of the packages that the stage declares.

Comments, formatting and the docstrings of modules, classes and functions are not hashed. A string that
documents a constant is part of the syntax tree and is hashed.

In the hash of a module, each import of a module of polycal is replaced by the hash of that module (a Merkle
tree). Moving a module therefore changes no version. Importing a name from a module with other code does.
"""

import ast
import functools
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from polycal.artifacts import computed_once, files
from polycal.store import source_code, stages
from polycal.store.source_code import VersionError

ROOT = source_code.PACKAGE.parents[1]
LOCK = ROOT / "envs" / "cpu.lock"
Value = TypeVar("Value")


def code_version(stage: str) -> str:
    """The present version of a stage, as 12 hexadecimal digits.

    Raises VersionError if the stage is unknown, an import cannot be resolved, modules import each other in a
    circle, a declared data file is missing, or the lock file lacks a declared package.
    """
    return _code_of(stage, LOCK)["version"]


def modules_version(modules: Iterable[str], packages: Iterable[str]) -> str:
    """The version of modules with all that they import, and of locked packages, as 12 hexadecimal digits.

    Names of modules are without the prefix ``polycal.``. Raises VersionError as ``code_version`` does.
    """
    names, pinned = list(modules), list(packages)

    def compute() -> str:
        return _short_hash(
            {
                "modules": [_deep_hash(name) for name in names],
                "runtime": _pins(pinned, LOCK, ", ".join(names)),
            }
        )

    return _remembered(LOCK, f"{names} {pinned}", compute)


def parts(stage: str) -> dict[str, dict[str, str]]:
    """What the present version of a stage consists of, as three dictionaries.

    ``modules`` maps each imported module to a hash of its own code. ``files`` maps each data file to its
    sha256. ``runtime`` maps each declared package to its version in the lock file.
    """
    declared = _declared(stage)
    return {
        "modules": {name: _own_hash(name) for name in _code_of(stage, LOCK)["modules"]},
        "files": _data_files(declared),
        "runtime": _pins(declared.runtime, LOCK, f"stage {declared.name}"),
    }


def check_loaded(stage: str) -> None:
    """Import all modules of a stage, and check that they are the code that its version was computed from.

    A job may wait for hours between computing its code version and importing its modules. Raises VersionError
    if the version has changed meanwhile, or if a module's file was written during the import, even with the
    same text.
    """
    version = code_version(stage)
    modules = _code_of(stage, LOCK)["modules"]
    before = _times(modules)
    forget()
    edited = (
        f"{stage}: the code was edited after this job began, at version {version}; start the workflow again."
    )
    try:
        now = code_version(stage)
    except (SyntaxError, VersionError):
        now = ""
    if now != version:
        raise VersionError(edited)
    try:
        for name in modules:
            importlib.import_module(f"polycal.{name}")
    finally:
        if _times(modules) != before:
            raise VersionError(edited)


def _times(modules: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Times, size and inode of each module's file, which change with every edit; empty if it is missing."""
    found: dict[str, tuple[int, ...]] = {}
    for name in modules:
        try:
            status = source_code.file(name).stat()
        except FileNotFoundError:
            found[name] = ()
        else:
            found[name] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    return found


class StageCode(TypedDict):
    """The version of a stage, and the names of all modules that it imports, sorted."""

    version: str
    modules: list[str]


@functools.cache
def _code_of(stage: str, lock: Path) -> StageCode:
    """The code of a stage. Parsing it takes a second, so it is parsed once for each state of the source."""
    declared = _declared(stage)
    return _remembered(lock, repr(declared), lambda: _compute(declared, lock))


def _remembered(lock: Path, of: str, compute: Callable[[], Value]) -> Value:
    """``compute()``, or what an earlier process computed in the same state of the source. ``of`` is what it is about."""
    key = hashlib.sha256(f"{_state(lock)} {of}".encode()).hexdigest()[:32]
    return computed_once.value("code_versions", key, compute)


def _short_hash(found: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]


@functools.cache
def _state(lock: Path) -> str:
    """A hash of all that versions depend on: every file of the package, the lock file, Python, and this module."""
    texts = {**source_code.sources(), "": _lock_text(lock) if lock.is_file() else b""}
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    own = [files.sha256(Path(str(path))) for path in (__file__, source_code.__file__)]
    return hashlib.sha256(json.dumps([sys.version, own, sorted(hashes.items())]).encode()).hexdigest()


def _compute(declared: stages.Stage, lock: Path) -> StageCode:
    found = {
        "modules": [_deep_hash(name) for name in declared.modules],
        "files": _data_files(declared),
        "runtime": _pins(declared.runtime, lock, f"stage {declared.name}"),
    }
    return {"version": _short_hash(found), "modules": sorted(source_code.import_closure(declared.modules))}


def _declared(stage: str) -> stages.Stage:
    if stage not in stages.STAGES:
        raise VersionError(f"{stage}: no such stage; known: {', '.join(stages.STAGES)}.")
    return stages.STAGES[stage]


def _data_files(declared: stages.Stage) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for pattern in declared.data_files:
        matching = {
            path.relative_to(source_code.PACKAGE).as_posix() for path in source_code.PACKAGE.glob(pattern)
        } & set(source_code.sources())
        if not matching:
            raise VersionError(
                f"stage {declared.name}: no file matches {pattern!r} in {source_code.PACKAGE}."
            )
        hashes |= {path: hashlib.sha256(source_code.sources()[path]).hexdigest() for path in sorted(matching)}
    return hashes


def _pins(packages: Iterable[str], lock: Path, of: str) -> dict[str, str]:
    """Name → version of ``packages``. ``of`` is what needs them, for the message of the error."""
    needed = list(packages)
    pins = locked(lock) if needed else {}
    if missing := [name for name in needed if name not in pins]:
        raise VersionError(f"{of}: {lock} has no version of {missing[0]!r}; pin it there.")
    return {name: pins[name] for name in needed}


@functools.cache
def locked(lock: Path) -> dict[str, str]:
    """Name → version of each package in a lock file. Raises VersionError if the file is missing."""
    lines = _lock_text(lock).decode().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and line[0] != "#")
    return {name.strip().lower(): version.split(";")[0].strip() for name, version in pairs}


@functools.cache
def _lock_text(lock: Path) -> bytes:
    try:
        return lock.read_bytes()
    except FileNotFoundError:
        raise VersionError(f"{lock}: no such file; a code version needs the lock file.") from None


@functools.cache
def _own_hash(name: str) -> str:
    """The hash of a module's own code. It includes the names of imported modules, but not their content."""
    return hashlib.sha256(ast.dump(_tree(source_code.source(name))).encode()).hexdigest()


_DEEP: dict[str, str] = {}
"""Module → hash of its code and of all modules that it imports."""


def _deep_hash(name: str, above: tuple[str, ...] = ()) -> str:
    """The hash of a module's code with each import replaced by the hash of what it imports.

    ``above`` contains the modules that lead to this one. Raises VersionError if modules import each other
    in a circle.
    """
    if name in above:
        raise VersionError(f"modules import each other in a circle: {' → '.join([*above, name])}.")
    if name not in _DEEP:
        _DEEP[name] = _hash_with_imports(name, above)
    return _DEEP[name]


def _hash_with_imports(name: str, above: tuple[str, ...]) -> str:
    code, targets = _code(name, source_code.source(name))
    hashes = [
        "unhashed" if target in source_code.UNHASHED else _deep_hash(target, (*above, name))
        for target in targets
    ]
    return hashlib.sha256((code + json.dumps(hashes)).encode()).hexdigest()


@functools.cache
def _code(name: str, source: bytes) -> tuple[str, tuple[str, ...]]:
    """The syntax tree of a module without the names of imported modules, and the imported modules in order.

    Each import is replaced by the local names that it binds. At the top of the module, imports are sorted by
    local name. Their order in the file depends on the names of modules, which must not change the hash.
    """
    targets: list[str] = []

    def mark(nodes: list[ast.stmt]) -> ast.stmt:
        found = sorted(names for node in nodes for names in source_code.names_of(node, name))
        targets.extend(target for _, _, target in found)
        return ast.Expr(ast.Constant(json.dumps([names[:2] for names in found])))

    class Inner(ast.NodeTransformer):
        """Replaces each import inside a function or class."""

        def generic_visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, (ast.Import, ast.ImportFrom)) and source_code.names_of(node, name):
                return mark([node])
            return super().generic_visit(node)

    tree = _tree(source)
    imports = [node for node in tree.body if source_code.names_of(node, name)]
    body = [node for node in tree.body if node not in imports]
    tree.body = [mark(imports), *body]
    for module in {name, *targets}:
        source_code.check_packages(module)
    return ast.dump(Inner().visit(tree)), tuple(targets)


def _tree(source: bytes) -> ast.Module:
    """The syntax tree of a module, without the docstrings of modules, classes and functions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def forget() -> None:
    """Clear all caches of this module, because source files may have been edited."""
    for cached in (_code_of, _state, _lock_text, _own_hash, _code, locked):
        cached.cache_clear()
    source_code.forget()
    _DEEP.clear()
