"""Types of single values in a configuration: names, canonical numbers, shares, lists without duplicates."""

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from polycal.vocabulary import NONE

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Pattern of a name. Names become parts of paths and words of shell commands."""


def canonical_number(value: Any) -> str:
    """The one spelling of a number: ``0.10``, ``.1`` and ``"0.1"`` are ``0.1``; ``5e-06`` is ``5e-6``.

    Numbers name cells and folders, so equal numbers must have equal spellings. Raises ValueError if
    ``value`` is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not number.is_finite():
        raise ValueError("must be a finite number")
    if number == 0:
        return "0"
    digits = number.normalize()
    if Decimal("1e-4") <= abs(digits) < Decimal("1e16"):
        return f"{digits:f}"
    sign, figures, exponent = digits.as_tuple()
    text = "".join(map(str, figures))
    power = int(exponent) + len(text) - 1
    return f"{'-' * sign}{text[0]}{'.' + text[1:] if text[1:] else ''}e{power}"


def _within(low: str, high: str, include_high: bool = True) -> AfterValidator:
    def check(text: str) -> str:
        number = Decimal(text)
        if number < Decimal(low) or number > Decimal(high) or (number == Decimal(high) and not include_high):
            raise ValueError(f"must lie in [{low}, {high}{']' if include_high else ')'}")
        return text

    return AfterValidator(check)


def _valid_name(text: Any) -> str:
    if isinstance(text, bool):
        raise ValueError("YAML reads a bare yes, no, on or off as true or false: put the name in quotes")
    text = str(text)
    if not re.fullmatch(NAME, text) or text == NONE:
        raise ValueError(
            "must start with a letter or digit and contain only letters, digits, dot, underscore and hyphen"
            f" ({NONE!r} is reserved)"
        )
    return text


def no_duplicates(values: list[Any]) -> list[Any]:
    """``values``; raises ValueError if one occurs twice."""
    duplicates = sorted({str(value) for value in values if values.count(value) > 1})
    if duplicates:
        raise ValueError(f"contains {duplicates[0]!r} twice; list each value once")
    return values


Name = Annotated[str, BeforeValidator(_valid_name)]
Names = Annotated[list[Name], AfterValidator(no_duplicates)]
Number = Annotated[str, BeforeValidator(canonical_number), WithJsonSchema({"type": ["number", "string"]})]
Positive = Annotated[Number, _within("1e-12", "1e12")]
Share = Annotated[Number, _within("0", "1", include_high=False)]
Normalisation = Literal["sum", "token", "byte", "pmi"]


class Strict(BaseModel):
    """A mapping without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
