"""Whether the local files that a study names are there, said before any job is planned."""

from collections.abc import Iterator
from pathlib import Path

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
        if path is not None and not Path(path).expanduser().is_dir():
            yield _sentence(f"models.{name}.path", path, "there is no such folder")
    used = {name for block in plain for name in block["data"]} | set(grid.heldout_data(config))
    for name in sorted(used):
        path = config.data[name].path
        if path is not None and not Path(path).expanduser().exists():
            yield _sentence(f"data.{name}.path", path, "there is no such file or folder")
    for name, languages in sorted(grid.scored_languages(config).items()):
        path = config.benchmarks[name].path
        for given in _of_languages(path, languages) if path is not None else ():
            if not Path(given).expanduser().exists():
                yield _sentence(f"benchmarks.{name}.path", given, "there is no such file or folder")


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
