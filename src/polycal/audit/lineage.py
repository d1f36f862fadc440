"""Trace a table, figure, record or checkpoint back to its sources, and verify every checksum on the way."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, failures, files, records
from polycal.audit.artifact_index import STAGES_WITH_FILES, Artifact, ArtifactIndex
from polycal.store import acceptances, cache, manifest_checks
from polycal.store.stages import STAGES

UNQUANTISED = ("F64", "F32", "F16", "BF16")
"""Types of weights in GGUF that are not quantised."""


@dataclass
class LineageNode:
    """A result, one sentence for each problem with it, and the results that it was made from."""

    artifact: Artifact
    problems: list[str] = field(default_factory=list)
    reads: list["LineageNode"] = field(default_factory=list)


def trace(index: ArtifactIndex, artifact: Artifact, checked: bool = True) -> list[LineageNode]:
    """``artifact`` and all results that it was made from, each once, in depth-first order.

    With ``checked``, every checksum is computed again. Otherwise files are not read and ``problems`` contains
    only missing inputs. The inputs of a manifest that violates the schema are not followed.
    """
    nodes: dict[str, LineageNode] = {}

    def visit(current: Artifact) -> LineageNode:
        if current.path in nodes:
            return nodes[current.path]
        node = nodes[current.path] = LineageNode(current, check(current) if checked else [])
        well_formed = not manifest_checks.problems(current.manifest)
        inputs, missing = index.inputs(current) if well_formed else ([], [])
        node.problems += missing
        if checked and current.stage == "report":
            node.problems += _tables_changed(current)
        node.reads = [visit(read) for read in inputs]
        return node

    visit(artifact)
    return list(nodes.values())


def results_behind(study: Path) -> list[LineageNode]:
    """The measured tables in the folder ``study`` and every result that they were made from, each once.

    No checksum is computed. Raises LineageError if a table has no manifest.
    """
    index = ArtifactIndex(study / "cells.parquet")
    nodes: dict[str, LineageNode] = {}
    for path in sorted(study.glob("*.parquet")):
        for node in trace(index, index.owner(path), checked=False):
            # The tables share inputs. Keep the first node of each result.
            nodes.setdefault(node.artifact.path, node)
    return list(nodes.values())


def input_checksums(study: Path, nodes: Sequence[LineageNode]) -> dict[str, str]:
    """The checksums of what a report shows: the tables in ``study`` and the manifests of ``nodes``."""
    manifests = files.canonical_json([dict(node.artifact.manifest) for node in nodes])
    tables = {path.name: files.sha256(path) for path in sorted(study.glob("*.parquet"))}
    return {**tables, "manifests": hashlib.sha256(manifests.encode()).hexdigest()}


def acceptances_behind(nodes: Sequence[LineageNode]) -> list[dict[str, Any]]:
    """The acceptances because of which results of older code versions count as current."""
    made_with = {(node.artifact.stage, str(node.artifact.manifest["code_version"])) for node in nodes}
    entries: list[dict[str, Any]] = []
    for stage, version in sorted(pair for pair in made_with if pair[0] in STAGES):
        entries += [entry for entry in acceptances.relied_on(stage, version) if entry not in entries]
    return entries


def check(artifact: Artifact) -> list[str]:
    """One sentence for each problem with a result; empty if there is none.

    The manifest is compared with the schema and with its fingerprint, and the files with the manifest.
    """
    manifest = artifact.manifest
    if problems := manifest_checks.problems(manifest):
        return problems
    if cache.fingerprint(manifest["cell"], manifest["code"], manifest["reads"]) != manifest["fingerprint"]:
        problems.append("its fingerprint is not that of its cell, code and reads")
    if not artifact.here or failures.of(manifest):
        return problems
    if artifact.stage in STAGES_WITH_FILES:
        for name, recorded in manifest["files"].items():
            file = artifact.folder() / name
            if not file.is_file():
                problems.append(f"{name} is missing")
            elif files.sha256(file) != recorded["sha256"]:
                problems.append(f"{name} is not the file that was written")
    if "content" not in manifest:
        return problems
    parquet = artifact.file.suffix == ".parquet"
    content = records.content(artifact.file) if parquet else checkpoints.content(manifest["files"])
    return problems if content == manifest["content"] else [*problems, "its content is not what was written"]


def _tables_changed(report: Artifact) -> list[str]:
    """One sentence for each measured table that has changed since the report was made."""
    folder = report.folder()
    tables = {name: sha for name, sha in report.manifest["reads"].items() if name.endswith(".parquet")}
    return [
        f"it shows another {name} than the one here"
        for name, recorded in tables.items()
        if (folder / name).is_file() and files.sha256(folder / name) != recorded
    ]


def as_json(index: ArtifactIndex, nodes: list[LineageNode]) -> dict[str, Any]:
    """The lineage as values that JSON can represent.

    It contains the path and sha256 of the file, and for each result its path, problems, inputs and manifest.
    """
    return {
        "file": os.path.relpath(index.file, index.base),
        "sha256": files.sha256(index.file),
        "steps": [
            {
                "path": node.artifact.path,
                "here": node.artifact.here,
                "problems": node.problems,
                "reads": [read.artifact.path for read in node.reads],
                "note": dict(node.artifact.manifest),
            }
            for node in nodes
        ],
    }


def as_text(nodes: list[LineageNode]) -> str:
    """The lineage as an indented tree: each result once, how it was made, and its inputs below it."""
    lines: list[str] = []
    shown: set[str] = set()

    def visit(node: LineageNode, depth: int) -> None:
        shown.add(node.artifact.path)
        lines.append("  " * depth + _line(node))
        lines.extend("  " * depth + f"  ! {problem}" for problem in node.problems)
        above = [read for read in node.reads if read.artifact.path in shown]
        for read in node.reads:
            if read.artifact.path not in shown:
                visit(read, depth + 1)
        if above:
            more = above[0].artifact.path if len(above) == 1 else f"{len(above)} results"
            lines.append("  " * (depth + 1) + f"{more} (above)")

    visit(nodes[0], 0)
    return "\n".join(lines)


def _line(node: LineageNode) -> str:
    manifest = node.artifact.manifest
    commit = f"commit {manifest['commit'][:12]}" if manifest.get("commit") else "no commit"
    seconds = manifest.get("cost", {}).get("wall_seconds")
    job = f", job {manifest['job']}" if manifest.get("job") else ""
    details = [
        node.artifact.stage,
        commit + (" with changes" if manifest.get("dirty") else ""),
        f"code {manifest.get('code_version')}",
        f"{manifest.get('started')} on {manifest.get('host')}{job}",
        *([f"{seconds:.1f} s"] if isinstance(seconds, (int, float)) else []),
        *origin(node.artifact),
    ]
    state = "broken" if node.problems else "checked" if node.artifact.here else "manifest only"
    if failure := failures.of(manifest):
        state += f", FAILED in {failure.stage}: {failure.reason}"
    return f"{node.artifact.path} [{'; '.join(details)}] {state}"


def origin(artifact: Artifact) -> list[str]:
    """Where a fetched result came from, in words; empty for a result that was not fetched."""
    source = artifact.manifest.get("source", {})
    kinds = ("hub", "path", "generated", "miniature")
    address = next((f"{kind} {source[kind]}" for kind in kinds if kind in source), None)
    if "packages" in source:
        address = f"packages {', '.join(source['packages'])} (licence: {source['licence']})"
    if address is None:
        return []
    revision, conversion = source.get("revision"), conversion_in_words(artifact)
    return [
        f"from {address}"
        + (f" at {revision}" if revision else "")
        + (f", {conversion}" if conversion else "")
    ]


def conversion_in_words(artifact: Artifact) -> str:
    """How a model was made from another file format, which its quantisation may have changed; empty if it was not."""
    converted = artifact.manifest.get("converted")
    if not converted:
        return ""
    types = ", ".join(name for name in converted["weights"] if name not in UNQUANTISED)
    if not types:
        return f"GGUF, not quantised, as {converted['dtype']}"
    return f"GGUF quantised to {converted['bits']} bits per weight ({types}), dequantised to {converted['dtype']}"


def broken(nodes: list[LineageNode]) -> str | None:
    """One sentence about the first problem, with the number of others; None if there is no problem."""
    problems = [(node.artifact.path, problem) for node in nodes for problem in node.problems]
    if not problems:
        return None
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"the chain breaks at {problems[0][0]}: {problems[0][1]}{more}."
