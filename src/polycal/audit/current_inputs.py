"""The present checksums of a result's inputs, and the fingerprint that the result would have with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.analysis import embedding_diversity, generation_table, group_tables, measure, next_token_metrics
from polycal.artifacts import checkpoints, failures, manifests
from polycal.audit import lineage
from polycal.audit.expected_results import ExpectedResult
from polycal.data import sources
from polycal.store import cache
from polycal.store.stages import STAGES
from polycal.study import grid


class Manifests:
    """The manifests of results by path. Each file is read only once."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}

    def __getitem__(self, path: str) -> dict[str, Any]:
        """The manifest of the result at ``path``. Raises ManifestError if the file is missing or broken."""
        if path not in self.known:
            self.known[path] = manifests.read(Path(path))
        return self.known[path]

    def weights(self, path: str) -> dict[str, Any]:
        """The manifest of the checkpoint at ``path``; for a selected learning rate, that of its checkpoint.

        Raises ManifestError if a file is missing or broken.
        """
        manifest = self[path]
        if "manifest" not in manifest:
            return manifest
        return self.weights(str(Path(path).parent / manifest["manifest"]))


def checksums(result: ExpectedResult, recorded: Manifests, trust_mtimes: bool = False) -> dict[str, str]:
    """The present content checksums of the inputs of ``result``, as its fingerprint includes them.

    With ``trust_mtimes``, local files that are not newer than the result are not hashed again. Raises
    ManifestError, SourceError or CheckpointError if an input is missing or broken.
    """
    inputs = result.inputs
    match result.stage:
        case "miniature_model" | "miniature_data" | "world_benchmark":
            return {}
        case "fetch_model" | "fetch_instructions" | "fetch_benchmark":
            if trust_mtimes and (known := _unchanged(result, recorded)) is not None:
                return known
            return sources.input_checksums(result.cell)
        case "select_lr":
            return {rate: _candidate(recorded[path]) for rate, path in inputs.items()}
        case "measure":
            return measure.input_checksums(result.cell, scores=grid.score_records(result.cell))
        case "measure_groups":
            return group_tables.input_checksums(result.cell, scores=grid.grouped_records(result.cell))
        case "measure_embeddings":
            embeddings = [Path(path) for role, path in inputs.items() if role != "cells"]
            measured = Path(inputs["cells"])
            return embedding_diversity.input_checksums(result.cell, embeddings=embeddings, measured=measured)
        case "measure_next_token":
            tokens = grid.next_token_records(result.cell)
            return next_token_metrics.input_checksums(result.cell, tokens=tokens)
        case "measure_generation":
            generations = grid.generation_records(result.cell)
            clusters = grid.cluster_records(result.cell)
            return generation_table.input_checksums(result.cell, generations=generations, clusters=clusters)
        case "report":
            study = Path(result.out).parent
            return lineage.input_checksums(study, lineage.results_behind(study))
    kinds = {declared.name: declared.kind for declared in STAGES[result.stage].inputs}
    found = {}
    for role, path in inputs.items():
        manifest = recorded.weights(path) if kinds.get(role) == "checkpoint" else recorded[path]
        found[role] = failures.content(manifest)
    return found


def _candidate(manifest: Mapping[str, Any]) -> str:
    """The checksum of one candidate of a learning-rate selection, as in ``lr_selection.input_checksums``."""
    content = failures.content(manifest)
    return content if failures.of(manifest) else f"{content} {float(manifest['heldout_nll'])}"


def _unchanged(result: ExpectedResult, recorded: Manifests) -> dict[str, str] | None:
    """The recorded checksums of a local source, or None if they may have changed.

    They may have changed if a file was added, was removed or is newer than the result.
    """
    source, out = result.cell["source"], Path(result.out)
    if sources.is_pinned(source) or not out.exists():
        return None
    folder, manifest = sources.local_path(source), recorded[result.recorded_in]
    if result.stage == "fetch_model":
        present, known = checkpoints.parts(folder), set(manifest.get("files", {}))
    else:
        present = sources.local_files(folder, result.cell.get("language", ""))
        known = set(manifest.get("reads", {}))
    made = out.stat().st_mtime
    same_names = {path.name for path in present} == {Path(name).name for name in known}
    if same_names and all(path.stat().st_mtime <= made for path in present):
        return dict(manifest.get("reads", {}))
    return None


def fingerprints(result: ExpectedResult, inputs: Mapping[str, str], code: str) -> list[str]:
    """The fingerprint of a result with these input checksums, then those of equivalent code versions."""
    return cache.equivalent_fingerprints(result.stage, result.cell, code, inputs)
