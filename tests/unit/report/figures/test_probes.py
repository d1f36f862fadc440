"""Figures of what further model runs say, from small invented tables."""

import pandas as pd
import pytest

from polycal.report import page, study_tables
from polycal.report.figures import probes

KEYS = ["model", "data", "recipe", "beta", "seed", "benchmark", "protocol", "language"]
SETS = (("none", "none"), ("t-english", "0"), ("t-natural", "0"), ("t-balanced", "0"), ("t-balanced", "0.1"))


@pytest.fixture(scope="module")
def study():
    rows = []
    for number, (data, beta) in enumerate(SETS):
        for place, language in enumerate(("en", "yo")):
            tuned = ("r", beta, "1") if data != "none" else ("none", "none", "none")
            value = 0.1 + number / 100 + place / 50
            row = dict(zip(KEYS, ("m", data, *tuned, "b", "p", language), strict=True))
            numbers = {"ece": value, "gap": value, "smallest_shrunk": value, "resource": "high"}
            ends = {f"{m}{end}": value for m in ("ece", "gap") for end in ("_low", "_high")}
            rows.append({**row, **numbers, **ends})
    cells = pd.DataFrame(rows)
    told = {"cells": cells, "diversity": cells[[*KEYS, "smallest_shrunk"]]}
    return study_tables.Study({**told, "next_token": cells.assign(language="all", benchmark="h")[::2]}, {})


def test_every_kind_is_drawn_and_has_a_title_and_a_caption(study):
    names = probes.drawings(study)
    kinds = {name.split("-")[0] for name in names}
    assert kinds == set(probes.TITLES) == set(probes.CAPTIONS)
    assert kinds <= set(page.TITLES)


def test_points_of_diversity_are_changes_from_the_base(study):
    [axis] = probes.diversity(study, "b").axes
    assert axis.collections[0].get_offsets()[:, 1].tolist() == pytest.approx(
        [0.01, 0.01, 0.02, 0.02, 0.03, 0.03]
    )


def test_mixtures_stand_in_order_beside_the_base(study):
    assert probes.mixtures(study, "m", "b", "p") == ["t-english", "t-natural", "t-balanced"]
    legend = probes.ablation(study, "m", "b", "p").legends[0]
    assert {text.get_text() for text in legend.get_texts()} == {
        "base",
        "t-english",
        "t-natural",
        "t-balanced",
    }


def test_next_tokens_have_a_row_for_the_error_and_one_for_the_gap(study):
    assert len(probes.next_tokens(study, "h").axes) == 2
