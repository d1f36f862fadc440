"""Facts about territories from the supplemental data of CLDR, in Babel: which answer is right, and which are wrong.

A distractor is wrong by the same data: no currency that circulates in the territory and no language that is spoken
there. Territories with several right answers have no fact.
"""

import datetime
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from polycal.data.world.names import Thing

DAY = datetime.date(2026, 1, 1)
"""The day for which currencies are taken. Without a day, Babel takes the present one."""
CONTINENTS = {
    "Africa": "002",
    "America": "019",
    "Asia": "142",
    "Australia": "009",
    "Europe": "150",
    "Pacific": "009",
}
"""First part of a time zone → code of the continent (UN M49). Zones in oceans name none."""
TWO_CONTINENTS = frozenset(("AM", "AZ", "CY", "EG", "GE", "KZ", "RU", "TR"))
"""Territories that lie in two continents, or are counted to two."""
DISPUTED = frozenset(("Africa/El_Aaiun", "Asia/Jerusalem", "Europe/Simferopol"))
"""Cities that several states claim."""


class Fact(NamedTuple):
    """A fact: the ``relation`` of ``subject`` has the one right ``answer``.

    ``near`` are wrong answers from the region of the territory, ``far`` are the other wrong answers.
    """

    relation: str
    subject: Thing
    answer: Thing
    near: frozenset[Thing]
    far: frozenset[Thing]


def facts() -> Iterator[Fact]:
    """All facts, in a fixed order: currencies, official languages, continents, cities."""
    cities, territories = _cities(), _territories()
    regions = {territory: _regions(cities, territory) for territory in territories}
    currencies = {territory: _currencies(territory) for territory in territories}
    yield from _with_distractors("currency", regions, currencies, currencies)
    official = {territory: _official(territory) for territory in territories}
    spoken = {territory: official[territory] | _spoken(territory) for territory in territories}
    yield from _with_distractors("language", regions, official, spoken)
    continents = frozenset(Thing("territory", code) for code in CONTINENTS.values())
    for territory in territories:
        if len(regions[territory]) == 1 and territory not in TWO_CONTINENTS:
            [continent] = (Thing("territory", code) for code in regions[territory])
            yield Fact(
                "continent", Thing("territory", territory), continent, continents - {continent}, frozenset()
            )
    named = frozenset(cities.values())
    for zone, territory in sorted(cities.items()):
        if zone not in DISPUTED and territory in regions:
            near = {other for other in named if regions.get(other, set()) & regions[territory]} - {territory}
            far = named - near - {territory}
            answer = Thing("territory", territory)
            yield Fact(
                "city", Thing("city", zone), answer, _things("territory", near), _things("territory", far)
            )


def _with_distractors(
    kind: str, regions: dict[str, set[str]], right: dict[str, set[str]], possible: dict[str, set[str]]
) -> Iterator[Fact]:
    """Facts of the territories with one right answer. What is ``possible`` in a territory is no wrong answer there."""
    single = {territory: next(iter(codes)) for territory, codes in right.items() if len(codes) == 1}
    for territory, code in sorted(single.items()):
        near = {single[other] for other in single if regions[other] & regions[territory]} - possible[
            territory
        ]
        far = set(single.values()) - near - possible[territory]
        subject = Thing("territory", territory)
        yield Fact(kind, subject, Thing(kind, code), _things(kind, near), _things(kind, far))


def _things(kind: str, codes: Iterable[str]) -> frozenset[Thing]:
    return frozenset(Thing(kind, code) for code in codes)


def _territories() -> list[str]:
    """Codes of territories of the present: two letters, with a currency that is tender on DAY."""
    from babel.core import get_global

    codes = [code for code in get_global("territory_currencies") if len(code) == 2 and code.isalpha()]
    return sorted(code for code in codes if _currencies(code))


def _cities() -> dict[str, str]:
    """Time zone → territory, of zones that are named by a city in a continent."""
    from babel.core import get_global

    zones = get_global("zone_territories")
    return {
        zone: territory
        for zone, territory in zones.items()
        if zone.split("/")[0] in CONTINENTS
        and zone.count("/") == 1
        and len(territory) == 2
        and territory.isalpha()
    }


def _regions(cities: dict[str, str], territory: str) -> set[str]:
    """The continents of a territory's time zones."""
    return {CONTINENTS[zone.split("/")[0]] for zone, owner in cities.items() if owner == territory}


def _currencies(territory: str) -> set[str]:
    """Currencies that are legal tender in a territory on DAY."""
    from babel.numbers import get_territory_currencies

    return {str(code) for code in get_territory_currencies(territory, DAY, DAY)}


def _official(territory: str) -> set[str]:
    """Official languages of a whole territory, by law or in fact, without their scripts."""
    from babel.languages import get_official_languages

    return {
        str(code).split("_")[0] for code in get_official_languages(territory, regional=False, de_facto=True)
    }


def _spoken(territory: str) -> set[str]:
    """All languages that CLDR lists for a territory, without their scripts."""
    from babel.languages import get_territory_language_info

    return {str(code).split("_")[0] for code in get_territory_language_info(territory)}
