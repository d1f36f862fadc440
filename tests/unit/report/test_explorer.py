"""The explorer's columns contain the values of the tables, and its scripts cannot end their element."""

import base64
import json

import numpy as np
import pandas as pd
import pytest

from polycal.report import explorer
from polycal.vocabulary import CELL_KEYS


def column(packed):
    """The values of a column, decoded like in the script of the page."""
    if "numbers" in packed:
        return np.frombuffer(base64.b64decode(packed["numbers"]), "<f4")
    codes = np.frombuffer(base64.b64decode(packed["codes"]), "<u2")
    return np.array([packed["values"][code] for code in codes], dtype=object)


@pytest.fixture(scope="module")
def data(study):
    """The explorer's data, with its tables decoded."""
    shown = json.loads(json.dumps(explorer.data(study)))
    tables = {name: {key: column(one) for key, one in shown[name].items()}
              for name in ("cells", "contrasts", "reliability")}  # fmt: skip
    return shown | tables


def test_every_cell_and_mean_has_its_metrics_with_intervals(study, data):
    shown, cells = data["cells"], study["cells"]
    count = len(cells)
    for key in (*CELL_KEYS, "resource"):
        assert list(shown[key][:count]) == list(cells[key].astype(str))
    for metric in explorer.METRICS:
        for end in ("", "_low", "_high"):
            assert shown[metric + end][:count] == pytest.approx(cells[metric + end].to_numpy(), abs=1e-6)
    means = study["means"].query("group == 'all'")
    assert set(shown["language"][count:]) == {"mean"}
    assert shown["ece"][count:] == pytest.approx(means.ece.to_numpy(), abs=1e-6)
    assert np.isnan(shown["ece_floor"][count:]).all()


def test_contrasts_and_bins_belong_to_their_cells(study, data):
    keys = [tuple(row) for row in zip(*(data["cells"][key] for key in CELL_KEYS), strict=True)]
    shown = data["contrasts"]
    found = {
        (*keys[int(cell)], metric, reference): (difference, q)
        for cell, metric, reference, difference, q in zip(
            *(shown[name] for name in ("cell", "metric", "reference", "difference", "q")), strict=True
        )
    }
    contrasts = study["contrasts"]
    contrasts = contrasts[contrasts.metric.isin(list(explorer.METRICS))]
    assert len(found) == len(contrasts)
    for row in contrasts.to_dict("records"):
        difference, q = found[(*(row[key] for key in CELL_KEYS), row["metric"], row["reference"])]
        assert (difference, q) == pytest.approx((row["difference"], row["q"]), abs=1e-6)
    bins, reliability = data["reliability"], study["reliability"]
    assert [keys[int(cell)] for cell in bins["cell"]] == list(
        reliability[list(CELL_KEYS)].astype(str).itertuples(index=False, name=None)
    )
    assert list(bins["n"]) == list(reliability.n)
    assert bins["low"] == pytest.approx(reliability.accuracy_low.to_numpy(), abs=1e-6)


def test_a_normalisation_has_a_value_for_each_cell_and_none_for_a_mean(study, data):
    shown = {
        name: {key: column(one) for key, one in part.items()} for name, part in data["normalisations"].items()
    }
    assert set(shown) == {"sum", "token", "byte"}
    cells, table = study["cells"], study["normalisations"]
    assert shown["token"]["ece"][: len(cells)] == pytest.approx(cells.ece.to_numpy(), abs=1e-6)
    byte = cells.merge(table[table.normalise == "byte"], on=list(CELL_KEYS), suffixes=("_own", ""))
    assert shown["byte"]["gap"][: len(cells)] == pytest.approx(byte.gap.to_numpy(), abs=1e-6)
    assert (byte.gap - byte.gap_own).abs().max() > 0.01
    assert all(np.isnan(one[len(cells) :]).all() for part in shown.values() for one in part.values())


def test_a_study_without_contrasts_has_none_in_the_explorer(study):
    bare = type(study)({name: table for name, table in study.tables.items() if name != "contrasts"}, {})
    assert len(column(explorer.data(bare)["contrasts"]["cell"])) == 0


def test_no_script_ends_its_element_and_names_keep_their_signs(study):
    scripts = explorer.scripts(study, ())
    assert "<" not in scripts.data
    assert json.loads(scripts.data)["languages"]["yo"] == "Yorùbá <b>"
    for text in scripts:
        assert "</script" not in text.lower()
    assert "window.vegaEmbed" in scripts.charts
    assert "window.jQuery" in scripts.tables


def test_the_mass_on_the_letters_is_offered_where_a_cell_has_it(study):
    assert "candidate_mass" not in explorer.data(study)["metrics"]
    cells = study["cells"]
    letters = cells.assign(protocol="letters-0shot", candidate_mass=0.5)
    both = type(study)({**study.tables, "cells": pd.concat([cells, letters])}, study.languages)
    shown = explorer.data(both)
    assert shown["metrics"]["candidate_mass"].startswith("Mass on the letters")
    masses = column(shown["cells"]["candidate_mass"])
    assert np.isnan(masses[: len(cells)]).all()
    assert (masses[len(cells) : 2 * len(cells)] == 0.5).all()


def test_means_over_trainings_are_among_the_cells(two_seeds):
    shown = explorer.data(two_seeds)["cells"]
    keys = list(zip(*(column(shown[key]) for key in ("language", "beta", "seed")), strict=True))
    [mean] = two_seeds["training_means"].query("language == 'en' and beta == '0.1'").to_dict("records")
    place = keys.index(("en", "0.1", "all"))
    assert column(shown["gap_low"])[place] == pytest.approx(mean["gap_low"], abs=1e-6)
    assert keys.count(("en", "0.1", "all")) == 1
