"""Figures of further model runs, from small invented tables."""

import pandas as pd
import pytest

from polycal.report.figures import probes
from polycal.report.study_tables import StudyTables


def test_points_of_diversity_are_changes_from_the_base(probed_study):
    [axis] = probes.diversity(probed_study, "b").axes
    changes = axis.collections[0].get_offsets()[:, 1].tolist()
    # three data sets with β = 0 in two languages each, then β = 0.1
    assert changes[:6] == pytest.approx([0.01, 0.01, 0.02, 0.02, 0.03, 0.03])
    assert changes[6:] == pytest.approx([0.04, 0.04])


def test_mixtures_are_in_order_beside_the_base(probed_study):
    assert probes.mixtures(probed_study.beta_sweeps()) == ["t-english", "t-natural", "t-balanced"]
    legend = probes.ablation(probed_study, "m", "b", "p").legends[0]
    assert {text.get_text() for text in legend.get_texts()} == {
        "base",
        "t-english",
        "t-natural",
        "t-balanced",
    }


def test_next_tokens_have_a_row_for_the_error_and_one_for_the_gap(probed_study):
    assert len(probes.next_tokens(probed_study, "h").axes) == 2


def test_base_models_of_several_seeds_are_drawn_together(probed_study):
    doubled = {
        name: pd.concat([table, table.assign(base_seed="1")], ignore_index=True)
        for name, table in probed_study.tables.items()
    }
    study = StudyTables(doubled, {})
    [axis] = probes.diversity(study, "b").axes
    assert len(axis.collections[0].get_offsets()) == 16
    assert all(
        len(drawn[0].get_xdata()) == 4 for drawn in probes.ablation(study, "m", "b", "p").axes[0].containers
    )
    # two base models, and β = 0 twice
    assert len(probes.next_tokens(study, "h").axes[0].containers[1][0].get_xdata()) == 4
