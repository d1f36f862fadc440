"""The cell that a path names: what is known of a record that cannot be read."""

from pathlib import Path


def cell_in(path: Path) -> dict[str, str]:
    """The parts ``key=value`` of a path."""
    pairs = (part.partition("=") for part in path.parts)
    return {key: value for key, sign, value in pairs if sign}
