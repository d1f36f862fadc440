"""Download models and data sets from the Hugging Face hub at a pinned commit.

Only safetensors weights are downloaded. A hub that does not answer is asked three times. After a lost connection
or a killed job, the next attempt continues with the unfinished file. Every failure becomes a SourceError that says
what to do.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import tenacity

from polycal.artifacts import checkpoints, files
from polycal.data import readers, repositories
from polycal.errors import PolycalError, TransientError

UNREACHABLE = (
    "the hub cannot be reached; fetch on a machine with a network and with HF_HUB_OFFLINE unset (complete files are"
    " kept)."
)
PASSING = (408, 429)
"""Answers below 500 after which the hub may be asked again: it was too slow, or was asked too often."""


class SourceError(PolycalError):
    """A model or data set cannot be obtained."""


class UnreachableError(SourceError, TransientError):
    """The hub does not answer, or cannot answer at present."""


def _say(state: tenacity.RetryCallState) -> None:
    if state.outcome and state.next_action:
        print(f"{state.outcome.exception()} Asked again in {state.next_action.sleep:.0f} s.", flush=True)


_asking_again = tenacity.retry(
    retry=tenacity.retry_if_exception_type(UnreachableError),
    stop=tenacity.stop_after_attempt(3),
    wait=tenacity.wait_exponential(multiplier=5),
    before_sleep=_say,
    reraise=True,
)
"""Call a function again after 5 and 10 seconds if the hub is unreachable. Other errors occur again, so they end it."""


@_asking_again
def download_model(repository: str, revision: str, parent: Path) -> tuple[Path, dict[str, str]]:
    """Download a model to a folder in ``parent`` with the name of the commit.

    Returns the folder, and the sha256 of each large file as listed on the hub, by file name. Raises
    SourceError if the model cannot be obtained, or if a file does not have the size that the hub lists.
    """
    from huggingface_hub import HfApi

    commit = pinned_commit(repository, revision)
    folder = parent / commit[:12]
    with hub_errors(repository, commit, "models"):
        api = HfApi()
        info = api.model_info(repository, revision=commit, files_metadata=True)
        listed = {file.rfilename: file for file in info.siblings or []}
        names = model_files(listed, repository)
        present = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
        _check_free_space(parent, sum(listed[name].size or 0 for name in names) - present, repository)
        api.snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=names)
    # If the hub becomes unreachable during the download, the client raises no error and returns the files
    # that are present.
    for name in names:
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size is None or listed[name].size not in (None, size):
            raise SourceError(
                f"{repository}: {name} is incomplete after the download; start again (complete files are not"
                " downloaded again)."
            )
    lfs_entries = {name: listed[name].lfs for name in names}
    return folder, {name: lfs.sha256 for name, lfs in lfs_entries.items() if lfs}


@_asking_again
def download_data(repository: str, revision: str, config: str | None) -> Path:
    """Download the files of one configuration of a data set to the hub's cache (HF_HOME), and return the folder.

    All jobs share the cache. Raises SourceError if the data set cannot be obtained, and RecordError if its
    card does not list the configuration.
    """
    from huggingface_hub import HfApi, constants

    commit = pinned_commit(repository, revision)
    with hub_errors(repository, commit, "datasets"):
        api = HfApi()
        info = api.dataset_info(repository, revision=commit, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        patterns = ["*"]
        if "README.md" in sizes:
            card = api.hf_hub_download(repository, "README.md", repo_type="dataset", revision=commit)
            splits = repositories.card_splits(Path(card).read_text(encoding="utf-8"), config, repository)
            patterns = [f"*{suffix}" for suffix in readers.SUFFIXES]
            if splits is not None:
                patterns = [pattern for of_split in splits.values() for pattern in of_split]
        names = [name for name in sizes if name == "README.md" or _matches(name, patterns)]
        _check_free_space(Path(constants.HF_HUB_CACHE), sum(sizes[name] for name in names), repository)
        return Path(
            api.snapshot_download(repository, repo_type="dataset", revision=commit, allow_patterns=names)
        )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file name matches one of the patterns of a card."""
    return any(fnmatch(name, pattern.replace("**/", "*")) for pattern in patterns)


def model_files(names: Iterable[str], repository: str) -> list[str]:
    """The files of a model to download: configuration, tokenizer, and one copy of the safetensors weights.

    Some repositories contain several copies of the weights (pickled, ``consolidated.safetensors``,
    ``original/``). The files that ``from_pretrained`` reads are chosen. Raises SourceError if there are no
    such weights.
    """
    names = set(names)
    index = "model.safetensors.index.json"
    weights = (
        [name for name in names if re.fullmatch(r"model-\d+-of-\d+\.safetensors", name)]
        if index in names
        else []
    )
    if "model.safetensors" in names:
        weights = ["model.safetensors"]
    if not weights:
        raise SourceError(
            f"{repository}: contains no safetensors weights, and polycal does not load pickled ones; choose a"
            " revision with model.safetensors, or convert the weights and give their folder as path."
        )
    return sorted(weights + [name for name in names if name in checkpoints.PARTS])


def pinned_commit(repository: str, revision: str) -> str:
    """``revision`` if it is a full commit. Raises SourceError for a branch or tag, which may move."""
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise SourceError(
            f"{repository}: revision {revision!r} may move; pin a commit (40 hexadecimal digits, listed"
            " on the repository's page under 'Files and versions', 'History')."
        )
    return revision


def _check_free_space(folder: Path, needed: int, repository: str) -> None:
    """Raise SourceError if the disk of ``folder`` has fewer than ``needed`` bytes free."""
    folder, free = files.free_bytes(folder)
    if needed > free:
        raise SourceError(
            f"{repository}: needs {needed / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB free; free some space"
            " or use another disk (data sets are downloaded to HF_HOME)."
        )


@contextmanager
def hub_errors(repository: str, revision: str, kind: str) -> Iterator[None]:
    """Turn errors of the hub's client and of a full disk into a SourceError. Other errors are not changed.

    ``kind`` is models or datasets.
    """
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
            f"{repository}: revision {revision} does not exist (any more); pin one that is listed at"
            f" {page}/commits/main."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            f"{repository}: no such repository at {page}, or a private one; correct the name, or give a token"
            " that may read it with `hf auth login` or the variable HF_TOKEN."
        ) from error
    except errors.HfHubHTTPError as error:
        passing = error.response.status_code in PASSING or error.response.status_code >= 500
        kind_of_error = UnreachableError if passing else SourceError
        raise kind_of_error(
            f"{repository}: the hub answered: {repositories.first_line(error).rstrip('.')}."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise SourceError(f"{repository}: {UNREACHABLE}") from error
    except (errors.LocalEntryNotFoundError, errors.HTTPError) as error:
        raise UnreachableError(f"{repository}: {UNREACHABLE}") from error
    except OSError as error:
        if not files.is_disk_full(error):
            raise
        raise SourceError(
            f"{repository}: the disk is full; free some space and start again (complete files are kept)."
        ) from error
