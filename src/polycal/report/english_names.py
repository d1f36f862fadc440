"""How many candidates of a generated benchmark are spelled as in English, in each language."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

Shares = Mapping[tuple[str, str], float]
"""(benchmark, language) → share of the candidates of all test questions that are spelled as in English."""


def shares(manifests: Iterable[Mapping[str, Any]]) -> Shares:
    """The shares that the manifest of the benchmark world lists, for each benchmark of a study that is made from it.

    ``manifests`` are those of the results behind the study. Benchmarks of other sources have no share.
    """
    manifests = list(manifests)
    listed: dict[str, Mapping[str, Mapping[str, float]]] = {}
    for manifest in manifests:
        if manifest.get("stage") == "world_benchmark":
            for variant, about in manifest.get("variants", {}).items():
                listed[variant] = about["equal_to_english"]
    found: dict[tuple[str, str], float] = {}
    for manifest in manifests:
        if manifest.get("stage") != "fetch_benchmark":
            continue
        cell = manifest["cell"]
        variant = PurePosixPath(cell["source"].get("generated", "")).name
        language = cell["language"]
        if language in listed.get(variant, {}):
            found[cell["benchmark"], language] = listed[variant][language]["all"]
    return found
