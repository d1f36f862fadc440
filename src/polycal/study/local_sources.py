"""Whether the local files that a study names are there, said before any job is planned."""

from collections.abc import Callable, Iterator
from pathlib import Path

from polycal.data.readers import SUFFIXES
from polycal.study import grid
from polycal.study.config import Config


def missing(config: Config) -> Iterator[str]:
    """A sentence for each local model, data set and benchmark of the grid that does not exist.

    Entries that the grid does not use may name files that are not there. Relative paths start in the working
    directory.
    """
    plain = grid.blocks(config)
    for name in sorted({name for block in plain for name in block["models"]}):
        path = config.models[name].path
        if path is not None and not _is_there(path, Path.is_dir):
            yield _sentence(f"models.{name}.path", path, "there is no such folder")
    used = {name for block in plain for name in block["data"]} | set(grid.heldout_data(config))
    for name in sorted(used):
        path = config.data[name].path
        if path is not None and not _is_there(path):
            yield _sentence(f"data.{name}.path", path, "there is no such file or folder")
    for name, languages in sorted(grid.scored_languages(config).items()):
        path = config.benchmarks[name].path
        for given in _of_languages(path, languages) if path is not None else ():
            if not _is_there(given):
                yield _sentence(f"benchmarks.{name}.path", given, "there is no such file or folder")
            elif config.benchmarks[name].format == "file" and Path(given).expanduser().is_dir():
                files = {file.name for file in Path(given).expanduser().iterdir()}
                for code in languages:
                    if files.isdisjoint(f"{code}{suffix}" for suffix in SUFFIXES):
                        problem = (
                            f"no file of this folder is named {code!r} and ends in {', '.join(SUFFIXES)}"
                        )
                        yield _sentence(f"benchmarks.{name}.path", given, problem)


def _is_there(path: str, kind: Callable[[Path], bool] = Path.exists) -> bool:
    """Whether a path leads to something; not if it names an unknown home or is longer than a path can be."""
    try:
        return kind(Path(path).expanduser())
    except (RuntimeError, OSError):
        return False


def _of_languages(path: str, languages: list[str]) -> list[str]:
    """The files that a benchmark's path names: one per language if its name contains ``{language}``."""
    location = Path(path)
    if "{language}" not in location.name:
        return [path]
    return [str(location.with_name(location.name.replace("{language}", code))) for code in languages]


def _sentence(key: str, path: str, problem: str) -> str:
    return (
        f"{key}: {path!r} is refused: {problem} (from {Path.cwd()}); correct the path or put the files there."
    )
