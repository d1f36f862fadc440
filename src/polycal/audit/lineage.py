"""From a table, figure, record or checkpoint back to its sources, with every checksum on the way taken again.

A link is a checksum: a result says what it read, and whatever here has that content made it. So the chain needs no
configuration and no repository; a copied results folder is enough. What such a copy lacks of the downloads and
questions is known from the notes that the study keeps beside its report.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, files, records
from polycal.errors import PolycalError
from polycal.store import cache, manifest_schema

RESULTS = {"checkpoints", "scores", "studies"}
NAMES = {"manifest.json", "selected.json", "gate.json", "data.json", "parallel.json", "present.json"}
SOURCES = "sources.json"
"""Notes of all that a study stands on outside of the results folder, by path."""
FOLDERS = ("fetch_model", "finetune", "miniature_model", "miniature_data", "present")
"""Stages whose note lists files of their own, from the note's ``folder`` on."""


class ChainError(PolycalError):
    """A file without a note, or a chain that breaks; the message says where."""


@dataclass(frozen=True)
class Product:
    """A result and what it says of itself; ``here`` is False where only the note has come along."""

    path: str
    note: Mapping[str, Any]
    place: Path
    here: bool = True

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return str(self.note["stage"])

    def folder(self) -> Path:
        """Where the files of its note lie."""
        return Path(os.path.normpath(self.place.parent / str(self.note.get("folder", "."))))


@dataclass
class Step:
    """A result on the way, what is wrong with it, and the results that it read."""

    product: Product
    problems: list[str] = field(default_factory=list)
    reads: list["Step"] = field(default_factory=list)


class Catalogue:
    """All results of a results folder and of the resources beside it, to be found by path or by content."""

    def __init__(self, file: Path) -> None:
        """Read the notes around ``file``: of the results folder it lies in, else of its own folder alone."""
        self.file = file.absolute()
        results = next((p for p in self.file.parents if RESULTS & {c.name for c in _folders(p)}), None)
        at = next((p for p in self.file.parents if p.name == "resources"), None)
        self.base = (results or at or self.file).parent
        beside = self.base / "resources"
        found = list(_notes(results, self.base)) if results else []
        found += _notes(beside, self.base) if beside.is_dir() else []
        if not found:
            found = list(_notes(self.base, self.base))
        here = {product.path for product in found}
        found += [p for p in self._told(results) if p.path not in here]
        self.products = found
        self._content: dict[str, list[Product]] = {}
        self._file: dict[Path, Product] = {}
        for product in found:
            for checksum in _checksums(product):
                self._content.setdefault(checksum, []).append(product)
            self._file[product.place] = product
            if product.stage in FOLDERS:
                self._file |= {product.folder() / name: product for name in product.note.get("files", ())}

    def _told(self, results: Path | None) -> Iterator[Product]:
        for path in sorted(results.glob(f"studies/*/provenance/{SOURCES}")) if results else ():
            for name, note in json.loads(path.read_text()).items():
                yield Product(name, note, self.base / name, here=False)

    def owner(self, file: Path) -> Product:
        """The result that ``file`` is or belongs to. Raises ChainError for a file that no note speaks of."""
        if not file.exists():
            raise ChainError(f"{file}: no such file.")
        if (found := self._file.get(Path(os.path.normpath(file.absolute())))) is None:
            raise ChainError(
                f"{file}: no manifest here speaks of it; give a table, figure, record or checkpoint of a results folder."
            )
        return found

    def sources(self, product: Product) -> tuple[list[Product], list[str]]:
        """What a result read, and a sentence for each thing that nothing here made."""
        if product.stage.startswith("fetch_") and "miniature" not in product.note["source"]:
            return [], []
        found: dict[str, Product] = {}
        lost: list[str] = []
        for role, told in product.note["reads"].items():
            one = (
                self._beside(product, role) if product.stage == "present" else self._made(product, role, told)
            )
            if one is not None:
                found[one.path] = one
            elif product.stage != "present" or role.endswith(".parquet"):
                lost.append(f"it read {role} {told[:12]}, which nothing here made")
        return list(found.values()), lost

    def _made(self, product: Product, role: str, told: str) -> Product | None:
        """The result of the content ``told``: of several the one of that path, else the one whose cell is nearest.

        What is fetched from the miniature has the content that the miniature made; all else reads what was fetched.
        """
        cell = product.note["cell"].items()
        fetched = product.stage.startswith("fetch_")
        found = self._content.get(told.partition(" ")[0], ())
        return max(
            (p for p in found if p.stage.startswith("miniature_") or not fetched),
            key=lambda p: (
                p.path.endswith(role),
                not p.stage.startswith("miniature_"),
                sum(one in cell for one in _plain(p.note["cell"])),
            ),
            default=None,
        )

    def _beside(self, product: Product, role: str) -> Product | None:
        return self._file.get(product.folder() / role)


def _folders(path: Path) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir()]


def _plain(cell: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in cell.items() if isinstance(value, str)]


def _notes(folder: Path, base: Path) -> Iterator[Product]:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "weights")
        for path in (Path(at) / name for name in sorted(names)):
            if path.suffix != ".parquet" and path.name not in NAMES:
                continue
            try:
                note = records.metadata(path) if path.suffix == ".parquet" else json.loads(path.read_text())
            except (records.RecordError, json.JSONDecodeError):
                continue  # not polycal's, or cut off: then nothing here has the content that another read
            if isinstance(note, dict) and "stage" in note and "fingerprint" in note:
                yield Product(path.relative_to(base).as_posix(), note, path)


def _checksums(product: Product) -> list[str]:
    if product.stage == "miniature_data":
        return [file["sha256"] for file in product.note.get("files", {}).values()]
    return [product.note["content"]] if "content" in product.note else []


def trace(catalogue: Catalogue, product: Product, checked: bool = True) -> list[Step]:
    """``product`` and all that it stands on, each once, what was read after what read it.

    ``checked`` takes every checksum again; without it only the links are followed.
    """
    made: dict[str, Step] = {}

    def visit(one: Product) -> Step:
        if one.path in made:
            return made[one.path]
        step = made[one.path] = Step(one, check(one) if checked else [])
        sources, lost = catalogue.sources(one) if not manifest_schema.problems(one.note) else ([], [])
        step.problems += lost
        if checked and one.stage == "present":
            step.problems += _tables_changed(one)
        step.reads = [visit(source) for source in sources]
        return step

    visit(product)
    return list(made.values())


def check(product: Product) -> list[str]:
    """What is wrong with a result: its note against the schema and its fingerprint, its files against the note."""
    note = product.note
    if found := manifest_schema.problems(note):
        return found
    if cache.fingerprint(note["cell"], note["code"], note["reads"]) != note["fingerprint"]:
        found.append("its fingerprint is not that of its cell, code and reads")
    if not product.here:
        return found
    if product.stage in FOLDERS:
        for name, told in note["files"].items():
            file = product.folder() / name
            if not file.is_file():
                found.append(f"{name} is missing")
            elif files.sha256(file) != told["sha256"]:
                found.append(f"{name} is not the file that was written")
    if "content" not in note:
        return found
    rows = product.place.suffix == ".parquet"
    now = records.content(product.place) if rows else checkpoints.content(note["files"])
    return found if now == note["content"] else [*found, "its content is not what was written"]


def _tables_changed(product: Product) -> list[str]:
    """Of a study's presentation: the measured tables that are other files than those it shows."""
    tables = {name: told for name, told in product.note["reads"].items() if name.endswith(".parquet")}
    return [
        f"it shows another {name} than the one here"
        for name, told in tables.items()
        if (product.folder() / name).is_file() and files.sha256(product.folder() / name) != told
    ]


def as_json(catalogue: Catalogue, steps: list[Step]) -> dict[str, Any]:
    """The chain as plain JSON: the file asked for, and every step with its note, problems and what it read."""
    return {
        "file": os.path.relpath(catalogue.file, catalogue.base),
        "sha256": files.sha256(catalogue.file),
        "steps": [
            {
                "path": step.product.path,
                "here": step.product.here,
                "problems": step.problems,
                "reads": [one.product.path for one in step.reads],
                "note": dict(step.product.note),
            }
            for step in steps
        ],
    }


def as_text(steps: list[Step]) -> str:
    """The chain as a tree: a result, how and when it was made, and below it what it read; each result once."""
    lines: list[str] = []
    shown: set[str] = set()

    def visit(step: Step, depth: int) -> None:
        shown.add(step.product.path)
        lines.append("  " * depth + _line(step))
        lines.extend("  " * depth + f"  ! {problem}" for problem in step.problems)
        above = [one for one in step.reads if one.product.path in shown]
        for one in step.reads:
            if one.product.path not in shown:
                visit(one, depth + 1)
        if above:
            more = above[0].product.path if len(above) == 1 else f"{len(above)} results"
            lines.append("  " * (depth + 1) + f"{more} (above)")

    visit(steps[0], 0)
    return "\n".join(lines)


def _line(step: Step) -> str:
    note = step.product.note
    commit = f"commit {note['commit'][:12]}" if note.get("commit") else "no commit"
    cost = note.get("cost", {}).get("wall_seconds")
    said = [
        step.product.stage,
        commit + (" with changes" if note.get("dirty") else ""),
        f"code {note.get('code_version')}",
        f"{note.get('started')} on {note.get('host')}" + (f", job {note['job']}" if note.get("job") else ""),
        *([f"{cost:.1f} s"] if isinstance(cost, (int, float)) else []),
        *origin(note),
    ]
    state = "broken" if step.problems else "checked" if step.product.here else "note only"
    return f"{step.product.path} [{'; '.join(said)}] {state}"


def origin(note: Mapping[str, Any]) -> list[str]:
    """Where something fetched came from."""
    source = note.get("source", {})
    place = next((f"{kind} {source[kind]}" for kind in ("hub", "path", "miniature") if kind in source), None)
    revision = source.get("revision")
    return [f"from {place}" + (f" at {revision}" if revision else "")] if place else []


def broken(steps: list[Step]) -> str | None:
    """The first broken link in a sentence; None where the chain holds."""
    found = [(step.product.path, problem) for step in steps for problem in step.problems]
    if not found:
        return None
    more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
    return f"the chain breaks at {found[0][0]}: {found[0][1]}{more}."
