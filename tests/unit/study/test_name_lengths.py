"""Names and settings that are too long for file systems, Slurm or a shell are refused before any job."""

import itertools
from dataclasses import asdict

import pytest
from helpers.studies import BASE

from polycal.study import grid, name_lengths, paths
from polycal.study.config_loading import ConfigError, merge, resolve
from polycal.study.config_values import LONGEST_NAME


def renamed(length, **lists_of_grid):
    """The study with names of ``length`` characters each."""
    model, data, benchmark, protocol = (letter * length for letter in "mdbp")
    lists = {"models": [model], "data": [data], "benchmarks": [benchmark], "protocols": [protocol]}
    return merge(
        BASE,
        {
            "models": {model: BASE["models"]["m"]},
            "data": {data: BASE["data"]["d"]},
            "benchmarks": {benchmark: BASE["benchmarks"]["b"]},
            "protocols": {protocol: BASE["protocols"]["p"]},
            "grid": {**lists, **lists_of_grid},
        },
    )


def test_names_that_are_too_long_together_are_refused_with_the_limit():
    with pytest.raises(
        ConfigError,
        match=r"grid: the names of a cell have up to 2\d\d characters together, but .* Slurm's log folder allow"
        r" 255; shorten some, for example 'm{64}' of models \(64\)\.",
    ):
        resolve(renamed(64))


def test_the_longest_names_that_are_accepted_fit_every_path():
    length = next(n for n in itertools.count(64, -1) if accepted(renamed(n)))
    config = resolve(renamed(length))
    for cell in grid.cells(grid.blocks(config)):
        joined = "_".join(asdict(cell).values())
        assert len(joined) <= 255
        path = paths.SCORES.format(**asdict(cell))
        assert len(path) < 500
    assert length > 50


def accepted(raw):
    try:
        resolve(raw)
    except ConfigError:
        return False
    return True


def test_further_combinations_count_too():
    long = "x" * 190
    raw = merge(BASE, {"data": {long: BASE["data"]["d"]}, "recipes": {"y" * 60: {"extends": "r"}}})
    resolve(raw)
    extra = {"grid": {"extra": [{"data": [long], "recipes": ["y" * 60]}]}}
    with pytest.raises(ConfigError, match=r"grid\.extra\[0\]: the names of a cell .* 'x+' of data \(190\)"):
        resolve(merge(raw, extra))


@pytest.mark.parametrize("catalogue", ["models", "data", "benchmarks", "recipes", "protocols", "languages"])
def test_one_name_has_a_limit(catalogue):
    entry = next(iter(BASE[catalogue].values()))
    resolve(merge(BASE, {catalogue: {"x" * LONGEST_NAME: entry}}))
    with pytest.raises(ConfigError, match=r"has 201 characters, but a name may have at most 200"):
        resolve(merge(BASE, {catalogue: {"x" * (LONGEST_NAME + 1): entry}}))


def test_settings_that_are_too_long_for_a_command_are_refused():
    sources = [f"source-{number}" for number in range(10_000)]
    with pytest.raises(ConfigError, match=r"job fetch_instructions of d have \d+ bytes, .* allows 100000"):
        resolve(merge(BASE, {"data": {"d": {"sources": sources}}}))
    with pytest.raises(ConfigError, match="job report have"):
        resolve(merge(BASE, {"models": {"m": {"licence": "é" * 50_001}}}))
    name_lengths.check_commands([("report", "x" * name_lengths.LONGEST_COMMAND)])
