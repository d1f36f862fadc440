"""Checks of the generated answers that a study asks for."""

from typing import TYPE_CHECKING

from polycal.data.open_format_names import FORMATS
from polycal.scoring.prompt_labels import LABELS
from polycal.study.suggestions import require_known

if TYPE_CHECKING:
    from polycal.study.config import Config


def check_generation(config: "Config") -> None:
    """Raise ValueError if a benchmark has options where there must be none, or the reverse, or cannot be asked.

    The same if the entailment model is unknown or can only be a language model.
    """
    for at, block in config.grid.blocks_by_key().items():
        for name in block.benchmarks:
            if config.benchmarks[name].format in FORMATS:
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
    if chosen.entailment is not None:
        require_known("generation.entailment", chosen.entailment, config.models, "the catalogue 'models'")
        model = config.models[chosen.entailment]
        if model.miniature is not None or model.packages is not None:
            raise ValueError(
                f"generation.entailment: {chosen.entailment!r} is a language model, because its source is the"
                " miniature or a GGUF file; name a model for natural language inference with hub or path"
            )
    benchmarks = {name: config.benchmarks[name] for name in chosen.benchmarks}
    available = {code for entry in benchmarks.values() for code in entry.languages}
    for code in chosen.languages or []:
        require_known("generation.languages", code, available, "the languages of generation.benchmarks")
    asked = {name: entry.languages_among(chosen.languages) for name, entry in benchmarks.items()}
    for code in sorted({code for codes in asked.values() for code in codes}):
        require_known("generation.benchmarks", code, config.languages, "the catalogue 'languages'")
        if chosen.prompt_language == "local":
            require_known("generation.prompt_language local", code, LABELS, "the labels")
    for name, codes in asked.items():
        if not codes:
            raise ValueError(
                f"generation.languages: none of them is a language of {name!r}; add one or remove the benchmark"
            )
