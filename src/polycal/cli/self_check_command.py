"""The command ``polycal self-check``: the check that every scoring run starts with, for one model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polycal.cli.standalone import check_choices

if TYPE_CHECKING:
    from polycal.scoring.self_check import SelfCheck

COMPUTATIONS = {
    "fast": "polycal's own passes",
    "plain": "the model's own forward pass on padded rows",
    "single": "the model's own forward pass, one row at a time",
}


def add_to(app: typer.Typer) -> None:
    """Add the command self-check to ``app``."""
    app.command("self-check")(self_check)


def self_check(
    model: Annotated[Path, typer.Argument(help="Model folder or manifest.")],
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    attention: Annotated[str, typer.Option(help="sdpa, eager or flash_attention_2.")] = "sdpa",
) -> None:
    """Compare polycal's numbers with the model's own forward pass, and print which computation runs use."""
    check_choices(dtype=dtype, attention=attention)
    from polycal.scoring import model_check

    name, outcomes = model_check.check_model(model, dtype, attention)
    print(name)
    for kind, outcome in outcomes.items():
        print(_line(kind, outcome))
        for path, reason in outcome.because.items():
            print(f"{'':12}  not {COMPUTATIONS[path]}: {reason}")


def _line(kind: str, outcome: "SelfCheck") -> str:
    return (
        f"{kind:12}  {outcome.path}: {COMPUTATIONS[outcome.path]}; largest difference {outcome.max_difference:.2g},"
        f" tolerance {outcome.tolerance:.2g} ({outcome.values} values of {outcome.prompts} prompts,"
        f" {outcome.seconds:.2f} s)"
    )
