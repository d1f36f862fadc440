"""The source of polycal's modules, and what each of them imports from polycal.

Names of modules are without the prefix ``polycal.``.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from polycal.errors import PolycalError

PACKAGE = Path(__file__).resolve().parents[1]
UNHASHED = frozenset({"store.stages", "study.paths"})
"""Tables that no version includes, because a new stage or output path changes no existing result."""


class VersionError(PolycalError):
    """A code version cannot be computed, or it is not the version that the job was planned with."""


@functools.cache
def sources() -> dict[str, bytes]:
    """Path and content of each file in the package. All versions are computed from this reading of them."""
    inside = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    # editors put hidden files beside the file that they save, and remove them at once
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_bytes()
        for path in inside
        if not path.name.startswith(".")
    }


def source(name: str) -> bytes:
    if not is_module(name):
        raise VersionError(f"polycal.{name}: no such module in {PACKAGE}.")
    return sources()[path_of(name)]


def path_of(name: str) -> str:
    """The source file of a module in the package. For a package it is ``__init__.py``."""
    base = name.replace(".", "/")
    return f"{base}.py" if f"{base}.py" in sources() else f"{base}/__init__.py".lstrip("/")


def file(name: str) -> Path:
    return PACKAGE / path_of(name)


def is_module(name: str) -> bool:
    return path_of(name) in sources()


def _is_package(name: str) -> bool:
    return not name or f"{name.replace('.', '/')}/__init__.py" in sources()


@functools.cache
def imports(name: str) -> tuple[tuple[str, str, str], ...]:
    """(local name, attribute or "", module) of each import of a polycal module in module ``name``."""
    found = {names for node in ast.walk(ast.parse(source(name))) for names in names_of(node, name)}
    return tuple(sorted(found))


def names_of(node: ast.AST, name: str) -> list[tuple[str, str, str]]:
    """The imports of one statement as ``_imports`` lists them; empty if it imports nothing of polycal."""
    if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "polycal"):
        package = _absolute(node, name)
        resolved = [(alias, _resolve(package, alias.name, name, node.lineno)) for alias in node.names]
        return [(alias.asname or alias.name, attribute, module) for alias, (module, attribute) in resolved]
    if not isinstance(node, ast.Import):
        return []
    found = []
    for alias in node.names:
        if alias.name.split(".")[0] == "polycal":
            module = alias.name.removeprefix("polycal").removeprefix(".")
            if not module or not is_module(module):
                raise VersionError(f"{file(name)}:{node.lineno}: import {alias.name} is no module.")
            found.append((alias.asname or alias.name, "", module))
    return found


def _absolute(node: ast.ImportFrom, name: str) -> str:
    """The package or module that an import names, without ``polycal.``. Relative imports are resolved."""
    module = node.module or ""
    if not node.level:
        return module.removeprefix("polycal").removeprefix(".")
    inside = name.split(".") if _is_package(name) else name.split(".")[:-1]
    base = inside[: len(inside) - node.level + 1]
    return ".".join([*base, *([module] if module else [])])


def _resolve(package: str, attribute: str, name: str, line: int) -> tuple[str, str]:
    """The module and attribute behind ``from polycal.PACKAGE import ATTRIBUTE``, as (module, attribute).

    The attribute is empty if ATTRIBUTE is itself a module. A re-export of a package is followed to its
    module.
    """
    where = f"{file(name)}:{line}: from polycal{'.' if package else ''}{package} import {attribute}"
    if attribute == "*":
        raise VersionError(f"{where}: name what is imported.")
    submodule = f"{package}.{attribute}" if package else attribute
    if is_module(submodule):
        return submodule, ""
    if package and _is_package(package):
        exported = {bound: (module, inner) for bound, inner, module in imports(package)}
        if attribute not in exported:
            raise VersionError(f"{where} resolves to nothing.")
        return exported[attribute]
    if not package or not is_module(package) or attribute not in _defined(package):
        raise VersionError(f"{where} resolves to nothing.")
    return package, attribute


@functools.cache
def _defined(name: str) -> frozenset[str]:
    """All names that a module defines, assigns or imports, at any depth."""
    bound: set[str] = set()
    for node in ast.walk(ast.parse(source(name))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return frozenset(bound)


def check_packages(module: str) -> None:
    """Check that the ``__init__`` of each package above ``module`` contains only a docstring and re-exports.

    Python runs these files on import, but no version includes them. Raises VersionError for other code.
    """
    for package in _packages(module):
        for node in ast.parse(source(package)).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            exports = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            if not (docstring or exports or isinstance(node, (ast.Import, ast.ImportFrom))):
                raise VersionError(
                    f"{file(package)}:{node.lineno}: code in the __init__ of a package enters no version;"
                    " move it to a module."
                )


def _packages(module: str) -> Iterator[str]:
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        if _is_package(package := ".".join(names[:depth])):
            yield package


def import_closure(modules: Iterable[str]) -> set[str]:
    """``modules`` and all modules of polycal that they import, directly or through other modules.

    Names are without the prefix ``polycal.``. Raises VersionError if an import cannot be resolved.
    """
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name not in seen and name not in UNHASHED:
            seen.add(name)
            todo += [target for _, _, target in imports(name)]
    return seen


def forget() -> None:
    """Clear all caches of this module, because source files may have been edited."""
    for cached in (sources, imports, _defined):
        cached.cache_clear()
