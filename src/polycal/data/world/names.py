"""Names of territories, currencies, languages and cities in every language of the benchmark, from Babel (CLDR)."""

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from polycal.errors import PolycalError


class WorldError(PolycalError):
    """The installed version of Babel lacks names that the benchmark needs."""


COUNTS = (*range(31), 100, 1000000, 1.5)
"""Numbers that together have every grammatical number of CLDR's languages."""


class Thing(NamedTuple):
    """A thing with a name. ``kind`` is territory, currency, language or city; ``code`` is CLDR's code."""

    kind: str
    code: str


class Names:
    """The names of things in ``languages``. Raises WorldError if Babel lacks one of them."""

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = list(languages)
        self._locales = [_locale(code) for code in self.languages]
        self.of = functools.cache(self._of)
        self._compared = functools.cache(self._for_comparison)
        self._numbered = functools.cache(self._numbered_names)

    def _of(self, thing: Thing) -> tuple[str, ...] | None:
        """The name of a thing in each language, in their order; None if one language lacks it."""
        names = [_name(locale, thing) for locale in self._locales]
        return tuple(unicodedata.normalize("NFC", name) for name in names if name) if all(names) else None

    def _for_comparison(self, thing: Thing) -> tuple[str, ...]:
        """The names without differences of case; only for a thing with a name in each language."""
        return tuple(name.casefold() for name in self.of(thing) or ())

    def accepted(self, thing: Thing, language: str) -> list[str]:
        """All names of a thing in one language: its name, and those of a currency with numbers (euros)."""
        position = self.languages.index(language)
        forms = (self.of(thing) or ())[position : position + 1] + self._numbered(thing, position)
        return list(dict.fromkeys(unicodedata.normalize("NFC", name) for name in forms))

    def _numbered_names(self, thing: Thing, position: int) -> tuple[str, ...]:
        """The names of a currency with numbers, sorted; none of another thing."""
        from babel.numbers import get_currency_name

        if thing.kind != "currency":
            return ()
        locale = self._locales[position]
        return tuple(sorted({str(get_currency_name(thing.code, count, locale)) for count in COUNTS}))

    def differ(self, one: Thing, other: Thing) -> bool:
        """Whether two things have different names in each language."""
        return all(a != b for a, b in zip(self._compared(one), self._compared(other), strict=True))

    def contain(self, one: Thing, other: Thing) -> bool:
        """Whether in some language the name of one thing contains that of the other."""
        return any(a in b or b in a for a, b in zip(self._compared(one), self._compared(other), strict=True))


def _locale(code: str) -> Any:
    """Babel's data of a language."""
    import babel

    try:
        return babel.Locale.parse(code)
    except (babel.UnknownLocaleError, ValueError) as error:
        raise WorldError(
            f"babel {babel.__version__} has no names in {code!r}; install the version that envs/cpu.lock pins."
        ) from error


def _name(locale: Any, thing: Thing) -> str | None:
    """The name of a thing in one language.

    Where a language has no name of a city, CLDR's rule gives the name in the identifier of the time zone.
    """
    from babel.dates import get_timezone_location

    if thing.kind == "city":
        return str(get_timezone_location(thing.code, locale=locale, return_city=True))
    names = {"territory": locale.territories, "currency": locale.currencies, "language": locale.languages}
    name = names[thing.kind].get(thing.code)
    return str(name) if name else None
