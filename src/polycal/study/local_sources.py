"""Checks that the local files of a study exist, before any job is planned."""

from collections.abc import Callable, Iterator
from pathlib import Path

from polycal.data.open_format_names import OPEN
from polycal.data.readers import SUFFIXES
from polycal.study import grid
from polycal.study.config import Config


def missing(config: Config) -> Iterator[str]:
    """A sentence for each local model, data set and benchmark of the grid that does not exist.

    Entries that the grid does not use may name files that do not exist. Relative paths start at the working
    directory.
    """
    plain = grid.blocks(config)
    for name in sorted(grid.models(config)):
        path = config.models[name].path
        if path is not None and not _exists(path, Path.is_dir):
            yield _sentence(f"models.{name}.path", path, "there is no such folder")
    used = {name for block in plain for name in block["data"]} | set(grid.heldout_data(config))
    for name in sorted(used):
        path = config.data[name].path
        if path is not None and not _exists(path):
            yield _sentence(f"data.{name}.path", path, "there is no such file or folder")
    for name, languages in sorted(grid.asked_languages(config).items()):
        path = config.benchmarks[name].path
        for file in _language_paths(path, languages) if path is not None else ():
            if not _exists(file):
                yield _sentence(f"benchmarks.{name}.path", file, "there is no such file or folder")
            elif config.benchmarks[name].format in ("file", OPEN) and Path(file).expanduser().is_dir():
                names = {entry.name for entry in Path(file).expanduser().iterdir()}
                for code in languages:
                    if names.isdisjoint(f"{code}{suffix}" for suffix in SUFFIXES):
                        problem = f"no file in this folder has the name {code!r} with the ending {', '.join(SUFFIXES)}"
                        yield _sentence(f"benchmarks.{name}.path", file, problem)


def _exists(path: str, kind: Callable[[Path], bool] = Path.exists) -> bool:
    """Whether a path exists. It does not if it names an unknown home directory or is no valid path."""
    try:
        return kind(Path(path).expanduser())
    except (RuntimeError, OSError):
        return False


def _language_paths(path: str, languages: list[str]) -> list[str]:
    """The files of a benchmark's path: one for each language if the file name contains ``{language}``."""
    location = Path(path)
    if "{language}" not in location.name:
        return [path]
    return [str(location.with_name(location.name.replace("{language}", code))) for code in languages]


def _sentence(key: str, path: str, problem: str) -> str:
    return f"{key}: {path!r} is refused: {problem} (relative to {Path.cwd()}); correct the path or put the files there."
