"""Index of all results in a results folder, by path and by content checksum.

Each result records the checksums of its inputs. The result whose content has such a checksum is the input.
This needs neither a configuration nor the repository, so it works on a copy of the results folder. A copy
does not contain the downloads and questions. Copies of their manifests are in the study's provenance
folder.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polycal.artifacts import failures, records
from polycal.errors import PolycalError
from polycal.store.stages import STAGES

RESULT_FOLDERS = {"checkpoints", "scores", "studies"}
MANIFEST_NAMES = {stage.output for stage in STAGES.values() if stage.output.endswith(".json")} | {
    "report.json"
}
"""Names of JSON files that contain a manifest. ``report.json`` is in the study's provenance folder."""
SOURCES = "sources.json"
"""File that maps the path of each source outside of the results folder to its manifest."""
STAGES_WITH_FILES = (
    "fetch_model",
    "finetune",
    "miniature_model",
    "miniature_data",
    "world_benchmark",
    "report",
)
"""Stages whose manifest lists further files, relative to the manifest's ``folder``."""

BUILT = ("miniature", "generated")
"""Keys of sources that the workflow builds. Other sources come from outside."""


class LineageError(PolycalError):
    """A file has no manifest, or a link between two results is broken. The message names the file."""


@dataclass(frozen=True)
class Artifact:
    """A result with its manifest. ``here`` is False if only a copy of the manifest exists, not the result."""

    path: str
    """Relative to the folder that holds results and resources."""
    manifest: Mapping[str, Any]
    file: Path
    here: bool = True

    @property
    def stage(self) -> str:
        """The name of the stage that made the result."""
        return str(self.manifest["stage"])

    def folder(self) -> Path:
        """The folder that the file names in the manifest are relative to."""
        return Path(os.path.normpath(self.file.parent / str(self.manifest.get("folder", "."))))


class ArtifactIndex:
    """The results of a results folder and of ``resources`` beside it, by path and by content checksum."""

    def __init__(self, file: Path) -> None:
        """Read all manifests in the results folder that contains ``file``, and in ``resources`` beside it.

        If there is no such folder, the manifests in the folder of ``file`` are read.
        """
        self.file = file.absolute()
        results = next((p for p in self.file.parents if RESULT_FOLDERS & set(_folder_names(p))), None)
        inside_resources = next((p for p in self.file.parents if p.name == "resources"), None)
        self.base = (results or inside_resources or self.file).parent
        resources = self.base / "resources"
        artifacts = list(artifacts_below(results, self.base)) if results else []
        artifacts += artifacts_below(resources, self.base) if resources.is_dir() else []
        if not artifacts:
            artifacts = list(artifacts_below(self.base, self.base))
        here = {artifact.path for artifact in artifacts}
        artifacts += [a for a in self._copied_manifests(results) if a.path not in here]
        self._by_content: dict[str, list[Artifact]] = {}
        self._by_file: dict[Path, Artifact] = {}
        for artifact in artifacts:
            for checksum in _checksums(artifact):
                self._by_content.setdefault(checksum, []).append(artifact)
            self._by_file[artifact.file] = artifact
            if artifact.stage in STAGES_WITH_FILES:
                listed = artifact.manifest.get("files", ())
                self._by_file |= {artifact.folder() / name: artifact for name in listed}

    def _copied_manifests(self, results: Path | None) -> Iterator[Artifact]:
        for path in sorted(results.glob(f"studies/*/provenance/{SOURCES}")) if results else ():
            try:
                listed = dict(json.loads(path.read_text()))
            except (OSError, ValueError, TypeError):
                print(
                    f"{path}: not the manifests of a study's sources, which are not shown; make the report again."
                )
                continue
            for name, manifest in listed.items():
                if isinstance(manifest, dict) and "stage" in manifest:
                    yield Artifact(name, manifest, self.base / name, here=False)

    def owner(self, file: Path) -> Artifact:
        """The result that ``file`` belongs to. Raises LineageError if it is missing or in no manifest."""
        if not file.exists():
            raise LineageError(f"{file}: no such file.")
        artifact = self._by_file.get(Path(os.path.normpath(file.absolute())))
        if artifact is None:
            raise LineageError(
                f"{file}: no manifest here mentions it; give a table, figure, record or checkpoint"
                " of a results folder."
            )
        return artifact

    def inputs(self, artifact: Artifact) -> tuple[list[Artifact], list[str]]:
        """The results that ``artifact`` read, and one sentence for each input that is not in the index.

        Data and models from outside (the hub, packages or a local path) have no inputs.
        """
        manifest = artifact.manifest
        source = manifest.get("source", manifest["cell"].get("source", {}))
        if artifact.stage.startswith("fetch_") and not any(key in source for key in BUILT):
            return [], []
        inputs: dict[str, Artifact] = {}
        missing: list[str] = []
        for role, checksum in manifest["reads"].items():
            if artifact.stage == "report":
                read = self._by_file.get(artifact.folder() / role)
            else:
                read = self._with_content(artifact, role, checksum)
            if read is not None:
                inputs[read.path] = read
            elif artifact.stage != "report" or role.endswith(".parquet"):
                missing.append(f"it read {role} {checksum[:12]}, which no result here contains")
        return list(inputs.values()), missing

    def _with_content(self, artifact: Artifact, role: str, checksum: str) -> Artifact | None:
        """The result with this content. If there are several, the one whose path or cell matches best.

        A stage that fetches what the workflow builds has an input and an output with the same content. Its input
        is the result of the stage that builds it. The input of every other stage is the fetched result.
        """
        cell = artifact.manifest["cell"].items()
        fetched = artifact.stage.startswith("fetch_")
        same_content = self._by_content.get(checksum.partition(" ")[0], ())
        return max(
            (other for other in same_content if _builds(other) or not fetched),
            key=lambda other: (
                other.path.endswith(role),
                not _builds(other),
                sum(pair in cell for pair in _text_values(other.manifest["cell"])),
            ),
            default=None,
        )


def _builds(artifact: Artifact) -> bool:
    """Whether a result is a source that the workflow builds."""
    return artifact.stage.startswith(("miniature_", "world_"))


def _folder_names(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path) if entry.is_dir()]


def _text_values(cell: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in cell.items() if isinstance(value, str)]


def artifacts_below(folder: Path, base: Path) -> Iterator[Artifact]:
    """Every result below ``folder``, with its path relative to ``base``. Hidden folders are skipped."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "weights")
        for path in (Path(parent) / name for name in sorted(names)):
            if path.suffix != ".parquet" and path.name not in MANIFEST_NAMES:
                continue
            try:
                manifest = (
                    records.metadata(path) if path.suffix == ".parquet" else json.loads(path.read_text())
                )
            except (records.RecordError, OSError, ValueError):
                continue  # not written by polycal, or incomplete, so no result was made from it
            if isinstance(manifest, dict) and "stage" in manifest and "fingerprint" in manifest:
                yield Artifact(path.relative_to(base).as_posix(), manifest, path)


def _checksums(artifact: Artifact) -> list[str]:
    if artifact.stage in ("miniature_data", "world_benchmark"):
        return [file["sha256"] for file in artifact.manifest.get("files", {}).values()]
    found = [artifact.manifest["content"]] if "content" in artifact.manifest else []
    # All failed records have the same content, no rows. Results made from one record its fingerprint instead.
    return [*found, failures.content(artifact.manifest)] if failures.of(artifact.manifest) else found
