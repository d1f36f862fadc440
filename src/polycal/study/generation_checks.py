"""Checks of the generated answers that a study asks for."""

from typing import TYPE_CHECKING

from polycal.data.open_format_names import FORMATS
from polycal.scoring.prompt_labels import LABELS
from polycal.study.suggestions import require_known

if TYPE_CHECKING:
    from polycal.study.config import Config


def check_generation(config: "Config") -> None:
    """Raise ValueError if a benchmark has options where there must be none, or the reverse, or cannot be asked."""
    for number, block in enumerate(config.grid.blocks()):
        for name in block.benchmarks:
            if name in config.benchmarks and config.benchmarks[name].format in FORMATS:
                at = "grid" if number == 0 else f"grid.extra[{number - 1}]"
                raise ValueError(
                    f"{at}.benchmarks: {name!r} has no options to score, because its format is"
                    f" {config.benchmarks[name].format}; name it in generation.benchmarks"
                )
    if (chosen := config.generation) is None:
        return
    for name in chosen.benchmarks:
        require_known("generation.benchmarks", name, config.benchmarks, "the catalogue 'benchmarks'")
        if config.benchmarks[name].format not in FORMATS:
            raise ValueError(
                f"generation.benchmarks: {name!r} has options, because its format is"
                f" {config.benchmarks[name].format}; name a benchmark of format {' or '.join(FORMATS)}"
            )
    available = {code for name in chosen.benchmarks for code in config.benchmarks[name].languages}
    for code in chosen.languages or []:
        require_known("generation.languages", code, available, "the languages of generation.benchmarks")
    asked = available & set(chosen.languages) if chosen.languages else available
    for code in sorted(asked):
        require_known("generation.benchmarks", code, config.languages, "the catalogue 'languages'")
        if chosen.prompt_language == "local":
            require_known("generation.prompt_language local", code, LABELS, "the labels")
    for name in chosen.benchmarks:
        if chosen.languages and not set(config.benchmarks[name].languages) & set(chosen.languages):
            raise ValueError(
                f"generation.languages: none of them is a language of {name!r}; add one or remove the benchmark"
            )
