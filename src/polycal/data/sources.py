"""Where models and data come from: the hub at a pinned commit, a local folder or file, the miniature hub.

Only safetensors weights are taken, and no code of a repository is ever run. A broken connection
goes on where it broke; a job that was killed goes on with the file at which it was. Whatever fails says in
one sentence what to do.
"""

import errno
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, files
from polycal.artifacts.manifests import Stamp
from polycal.data import readers
from polycal.errors import PolycalError

MINIATURE = Path("resources/miniature")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")

Cell = Mapping[str, Any]


class SourceError(PolycalError):
    """A model or data set that cannot be had; the message says what to do."""


def fetch_model(cell: Cell, out: Path, stamp: Stamp) -> None:
    """Make the model of ``cell["source"]`` available and write its manifest to ``out``.

    A local folder is referred to, not copied; files of the hub land beside the manifest, in a folder
    named by the commit. Raises SourceError, or CheckpointError for a folder without weights.
    """
    source = cell["source"]
    promised: dict[str, str] = {}
    if "hub" in source:
        folder, promised = _download_model(source["hub"], source["revision"], out.parent)
    else:
        folder = local(source, "models")
    found = checkpoints.describe(folder)
    for name, sha256 in promised.items():
        if found["files"][name]["sha256"] != sha256:
            raise SourceError(
                f"{folder / name}: differs from the hub's checksum; delete the file and start again."
            )
    if not any(name in found["files"] for name in TOKENIZERS):
        raise SourceError(
            f"{folder}: the model has no tokenizer; one of {', '.join(TOKENIZERS)} must lie beside config.json."
        )
    _refuse_code(folder)
    absolute = "path" in source and Path(source["path"]).is_absolute()
    place = str(folder) if absolute else os.path.relpath(folder.resolve(), out.parent.resolve())
    told = {"folder": place, "source": dict(source), "revision": source.get("revision")}
    files.write_json(out, {**stamp(), **found, **told})


def local(source: Mapping[str, str], kind: str) -> Path:
    """The folder or file of a local or miniature source; ``kind`` is models, data or benchmarks."""
    if "miniature" in source:
        folder = MINIATURE / kind / source["miniature"]
        if not folder.is_dir():
            raise SourceError(f"{folder}: not there; the miniature hub has to be built first.")
        return folder
    path = Path(source["path"]).expanduser()
    if not path.exists() and "{language}" not in path.name:
        raise SourceError(f"{path}: no such file or folder; correct the path of this source.")
    return path


def data(source: Mapping[str, str], kind: str, config: str | None = None) -> Path:
    """The folder or file that holds a data set; of the hub's repositories only ``config`` is downloaded.

    Downloads go to the hub's own cache (HF_HOME), which jobs and users share.
    """
    if "hub" not in source:
        return local(source, kind)
    from huggingface_hub import HfApi, constants

    repository, revision = source["hub"], _commit(source)
    with explained(repository, revision, "datasets"):
        api = HfApi()
        info = api.dataset_info(repository, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        wanted = ["*"]
        if "README.md" in sizes:
            card = api.hf_hub_download(repository, "README.md", repo_type="dataset", revision=revision)
            splits = readers.card_splits(Path(card).read_text(encoding="utf-8"), config, repository)
            wanted = [f"*{suffix}" for suffix in readers.SUFFIXES]
            if splits is not None:
                wanted = [pattern for patterns in splits.values() for pattern in patterns]
        names = [name for name in sizes if name == "README.md" or _matches(name, wanted)]
        _room(Path(constants.HF_HUB_CACHE), sum(sizes[name] for name in names), repository)
        return Path(
            api.snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=names)
        )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern.replace("**/", "*")) for pattern in patterns)


def reads(cell: Cell) -> dict[str, str]:
    """Checksums of the local files that fetching ``cell`` reads, for its fingerprint; none for the hub,
    where the commit in the cell says it all.
    """
    source = cell["source"]
    if "hub" in source:
        return {}
    kind = {"model": "models", "data": "data", "benchmark": "benchmarks"}[
        next(key for key in ("model", "data", "benchmark") if key in cell)
    ]
    place = local(source, kind)
    if kind == "models":
        return {"model": checkpoints.describe(place)["content"]}
    chosen = own_files(place, cell.get("language", ""))
    return {name: file["sha256"] for name, file in checksums(chosen, place).items()}


def own_files(place: Path, language: str = "") -> list[Path]:
    """The files of a local source; of a benchmark's those of ``language``, where each has its own."""
    if "{language}" in place.name:
        place = place.with_name(place.name.replace("{language}", language))
    if not place.is_dir():
        return [place] if place.is_file() else []
    # A benchmark has a folder or a file a language; a change in another one concerns another cell.
    files = [file for file in place.rglob("*") if file.is_file()]
    own = [f for f in files if f.stem == language or language in f.relative_to(place).parts[:-1]]
    return sorted([f for f in files if f.parent == place and f.stem == "README"] + own if own else files)


def checksums(files: Iterable[Path], root: Path) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of files, by their names below ``root``."""
    # Not resolved: the files of the hub's cache are links to blobs whose names say nothing.
    root = root if root.is_dir() else root.parent
    return {
        os.path.relpath(file, root): {
            "bytes": file.stat().st_size,
            "sha256": files.sha256(file),
        }
        for file in sorted(files)
    }


def _download_model(repository: str, revision: str, beside: Path) -> tuple[Path, dict[str, str]]:
    """The folder, and the sha256 that the hub gives for its large files."""
    from huggingface_hub import HfApi

    commit = _commit({"hub": repository, "revision": revision})
    folder = beside / commit[:12]
    with explained(repository, commit, "models"):
        api = HfApi()
        info = api.model_info(repository, revision=commit, files_metadata=True)
        files = {file.rfilename: file for file in info.siblings or []}
        names = model_files(files, repository)
        there = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
        _room(beside, sum(files[name].size or 0 for name in names) - there, repository)
        api.snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=names)
    # The client is content with what lies there when the hub drops out half way.
    for name in names:
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size is None or files[name].size not in (None, size):
            raise SourceError(
                f"{repository}: {name} did not arrive whole; start again, files that arrived are kept."
            )
    return folder, {name: file.lfs.sha256 for name, file in files.items() if name in names and file.lfs}


def model_files(names: Iterable[str], repository: str) -> list[str]:
    """What is downloaded of a model: configuration, tokenizer, and weights in safetensors, once.

    Some repositories hold the weights several times (pickled, ``consolidated.safetensors``, ``original/``);
    what ``from_pretrained`` reads is taken. Raises SourceError where there is none of it.
    """
    names = set(names)
    index = "model.safetensors.index.json"
    weights = (
        [n for n in names if re.fullmatch(r"model-\d+-of-\d+\.safetensors", n)] if index in names else []
    )
    if "model.safetensors" in names:
        weights = ["model.safetensors"]
    if not weights:
        raise SourceError(
            f"{repository}: holds no safetensors weights, and pickled ones are never loaded; choose a revision"
            " that has model.safetensors, or convert it and give the folder as path."
        )
    return sorted(weights + [name for name in names if name in checkpoints.PARTS])


def _refuse_code(folder: Path) -> None:
    """Raise SourceError for a model that only its own code can load."""
    config = json.loads((folder / "config.json").read_text())
    if "auto_map" not in config:
        return
    # Many models carry the code with which they came out though transformers has taken them over since; it
    # has a folder for each, and importing it to ask takes five seconds.
    kind = str(config.get("model_type"))
    spec = importlib.util.find_spec("transformers")
    home = Path(spec.origin).parent / "models" if spec and spec.origin else Path()
    if not (home / kind.replace("-", "_")).is_dir():
        raise SourceError(
            f"{folder}: model type {kind!r} needs code of its own (auto_map), which is never"
            " run; choose a model that transformers knows."
        )


def _commit(source: Mapping[str, str]) -> str:
    """The pinned commit; raises SourceError for a branch or tag, which may move."""
    if not re.fullmatch(r"[0-9a-f]{40}", source["revision"]):
        raise SourceError(
            f"{source['hub']}: revision {source['revision']!r} may move; pin a commit (40 hexadecimal digits, listed"
            " on the repository's page under 'Files and versions', 'History')."
        )
    return source["revision"]


def _room(folder: Path, needed: int, repository: str) -> None:
    """Raise SourceError where ``needed`` bytes do not fit on the disk of ``folder``."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SourceError(
            f"{repository}: needs {needed / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB free; make room or"
            " work on another disk (downloads of data sets go to HF_HOME)."
        )


@contextmanager
def explained(repository: str, revision: str, kind: str) -> Iterator[None]:
    """Turn what the hub's client raises into a SourceError of one sentence."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{'datasets/' if kind == 'datasets' else ''}{repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise SourceError(
            f"{repository}: access is restricted; accept the licence at {page}, then give your token with"
            " `hf auth login` or the variable HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(
            f"{repository}: revision {revision} is not there (any more); pin one that is listed at"
            f" {page}/commits/main."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            f"{repository}: no such repository at {page}, or a private one; correct the name, or give a token that"
            " may read it with `hf auth login` or the variable HF_TOKEN."
        ) from error
    except errors.HfHubHTTPError as error:
        raise SourceError(f"{repository}: the hub answered: {str(error).strip().splitlines()[0]}") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, errors.HTTPError) as error:
        raise SourceError(
            f"{repository}: the hub cannot be reached; fetch on a machine with a network, with HF_HUB_OFFLINE unset;"
            " files that arrived are kept."
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SourceError(
            f"{repository}: the disk is full; make room and start again, files that arrived are kept."
        ) from error
