"""Checks that the miniature has the models, data sets, benchmarks and languages that a study names."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from polycal.study.suggestions import require_known

if TYPE_CHECKING:
    from polycal.study.config import Config

ARCHITECTURES = ("mistral", "llama", "gemma2")
"""Base models of the miniature. They are listed here because the module that builds them imports PyTorch."""


def check_miniature(config: "Config") -> None:
    """Raise ValueError if an entry names a model, data set, benchmark or language that the miniature lacks."""
    if config.miniature is None:
        return
    from polycal.miniature.benchmark_questions import BENCHMARKS
    from polycal.miniature.instruction_sets import INSTRUCTION_SETS
    from polycal.miniature.lexicon import LANGUAGES
    from polycal.miniature.open_questions import OPEN_BENCHMARK

    known: dict[str, Iterable[str]] = {
        "models": ARCHITECTURES,
        "data": INSTRUCTION_SETS,
        "benchmarks": [*BENCHMARKS, OPEN_BENCHMARK],
    }
    for catalogue, names in known.items():
        for name, entry in getattr(config, catalogue).items():
            if entry.miniature is not None:
                key = f"{catalogue}.{name}.miniature"
                require_known(key, entry.miniature, names, f"the miniature's {catalogue}")
    for code in config.miniature.languages:
        require_known("miniature.languages", code, LANGUAGES, "the languages of a miniature")
    if "en" not in config.miniature.languages:
        raise ValueError("miniature.languages: 'en' is missing; the instruction data are in English")
    asked = [(name, block.languages) for block in config.grid.blocks() for name in block.benchmarks]
    if config.generation:
        asked += [(name, config.generation.languages) for name in config.generation.benchmarks]
    for name, languages in asked:
        entry = config.benchmarks[name]
        for code in entry.languages_among(languages) if entry.miniature is not None else ():
            key = f"benchmarks.{name}.languages"
            require_known(key, code, config.miniature.languages, "miniature.languages")
