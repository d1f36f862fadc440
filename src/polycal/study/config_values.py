"""Types of values in a configuration: names, canonical numbers, shares, lists without duplicates."""

import datetime
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from polycal.data import language_tags, text_content
from polycal.data.chat_templates import TEMPLATES
from polycal.study.suggestions import nearest
from polycal.vocabulary import NONE

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Pattern of a name. Names are used in paths and in shell commands."""
LONGEST_NAME = 200
"""Longest name, in characters. File systems allow 255 bytes; key, suffix and the name of a lock need some."""
LARGEST_SEED = 2**32 - 1
"""Largest seed of NumPy's global generator, which training seeds."""


def canonical_number(value: Any) -> str:
    """The canonical spelling of a number: ``0.10``, ``.1`` and ``"0.1"`` are ``0.1``; ``5e-06`` is ``5e-6``.

    Numbers are parts of cells and paths, so equal numbers must have equal spellings. Raises ValueError if
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


def yaml_reading(value: Any) -> str | None:
    """How YAML came to read a word without quotes as ``value``, to begin a message; None if ``value`` is text."""
    if isinstance(value, bool):
        return "YAML reads yes, no, on and off without quotes as true or false"
    if isinstance(value, (int, float)):
        return "YAML reads digits without quotes as a number, such as 007 as 7 and 2.50 as 2.5"
    if isinstance(value, datetime.date):
        return "YAML reads a date without quotes as a point in time"
    return None


def _valid_name(text: Any) -> str:
    if reason := yaml_reading(text):
        raise ValueError(f"{reason}: put the name in quotes")
    if not isinstance(text, str):
        raise ValueError("must be a name, which is one word of text")
    if not re.fullmatch(NAME, text) or text == NONE:
        raise ValueError(
            "must start with a letter or digit and contain only letters, digits, dot, underscore and hyphen"
            f" ({NONE!r} is reserved)"
        )
    if len(text) > LONGEST_NAME:
        raise ValueError(
            f"has {len(text)} characters, but a name may have at most {LONGEST_NAME}, because files are named by it"
        )
    return text


def _valid_seed(text: str) -> str:
    number = Decimal(text)
    if number != number.to_integral_value() or not 0 <= number <= LARGEST_SEED:
        raise ValueError(f"must be a whole number from 0 to {LARGEST_SEED}")
    return text


def _valid_chat_template(name: str) -> str:
    if name not in TEMPLATES:
        raise ValueError(f"is not a known chat format{nearest(name, TEMPLATES)}")
    return name


def _valid_label(text: str) -> str:
    if text_content.is_blank(text) or not text.isprintable():
        raise ValueError("must be one line of visible text, because figures show it")
    return text


def _valid_language(tag: str) -> str:
    if language_tags.language_code(tag) is None:
        raise ValueError("is not the tag of one language; give a tag such as en, por or zho_Hans")
    return tag


def no_duplicates(values: list[Any]) -> list[Any]:
    """Returns ``values``. Raises ValueError if a value occurs twice."""
    duplicates = sorted({str(value) for value in values if values.count(value) > 1})
    if duplicates:
        raise ValueError(f"contains {duplicates[0]!r} twice; list each value once")
    return values


Name = Annotated[str, BeforeValidator(_valid_name)]
Names = Annotated[list[Name], AfterValidator(no_duplicates)]
Label = Annotated[str, AfterValidator(_valid_label)]
LanguageTag = Annotated[str, AfterValidator(_valid_language)]
Location = Annotated[str, Field(min_length=1)]
Number = Annotated[str, BeforeValidator(canonical_number), WithJsonSchema({"type": ["number", "string"]})]
Positive = Annotated[Number, _within("1e-12", "1e12")]
Share = Annotated[Number, _within("0", "1", include_high=False)]
PositiveShare = Annotated[Number, _within("1e-6", "1")]
Seed = Annotated[Number, AfterValidator(_valid_seed)]
ChatTemplate = Annotated[Name, AfterValidator(_valid_chat_template)]
PromptLanguage = Annotated[
    Literal["english", "local"],
    Field(description="Language of the labels around a question (such as Answer:): English or its own."),
]
QuestionTemplate = Annotated[
    ChatTemplate | None,
    Field(description="Chat format for tuned models; null: plain text. Base models always get plain text."),
]
Normalisation = Literal["sum", "token", "byte", "pmi"]


class Strict(BaseModel):
    """A mapping that refuses unknown keys, true and false in place of numbers, and text that is not Unicode."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        values = value if isinstance(value, list) else [value]
        if any(isinstance(item, str) and not text_content.is_unicode(item) for item in values):
            raise ValueError("contains half a surrogate pair, which is not Unicode text")
        is_bool = any(isinstance(item, bool) for item in values)
        if is_bool and info.field_name and _is_number(cls.model_fields[info.field_name].annotation):
            raise ValueError(f"{yaml_reading(True)}: give a number")
        return value


def _is_number(annotation: Any) -> bool:
    """Whether the values of a key may be numbers, but neither texts nor true and false."""
    kinds = set(_kinds(annotation))
    return bool(kinds & {int, float}) and not kinds & {bool, str}


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types in an annotation, including those of the values of a Literal."""
    arguments = get_args(annotation)
    for argument in arguments:
        yield from _kinds(argument)
    if not arguments:
        yield annotation if isinstance(annotation, type) else type(annotation)
