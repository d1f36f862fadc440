"""The cell in a path. It identifies a record even if the record cannot be read."""

from pathlib import Path


def cell_in(path: Path) -> dict[str, str]:
    """The keys and values of all parts of a path that have the form ``key=value``."""
    pairs = (part.partition("=") for part in path.parts)
    return {key: value for key, sign, value in pairs if sign}
