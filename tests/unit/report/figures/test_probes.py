"""Figures about further model runs, from small invented tables."""

import pandas as pd
import pytest

from polycal.report.figures import draw, probes
from polycal.report.study_tables import StudyTables


def test_points_of_diversity_are_changes_from_the_base(probed_study):
    balanced, english, natural = probes.diversity(probed_study, "b").axes
    changes = {
        axis.get_title(): axis.collections[0].get_offsets()[:, 1].tolist()
        for axis in (balanced, english, natural)
    }
    # each setting has two languages; the balanced set has β = 0 and β = 0.1
    assert changes == {
        "m tuned on t-english": pytest.approx([0.01, 0.01]),
        "m tuned on t-natural": pytest.approx([0.02, 0.02]),
        "m tuned on t-balanced": pytest.approx([0.03, 0.03, 0.04, 0.04]),
    }


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


def test_base_models_of_several_seeds_have_figures_of_their_own(probed_study):
    doubled = {
        name: pd.concat([table, table.assign(base_seed="1")], ignore_index=True)
        for name, table in probed_study.tables.items()
    }
    study = StudyTables(doubled, {})
    names = draw.drawings(study)
    for kind in ("diversity", "nexttoken", "ablation"):
        assert sum(name.startswith(f"{kind}-0-") for name in names) == 1
        assert sum(name.startswith(f"{kind}-1-") for name in names) == 1
    for part in study.by_condition():
        points = [axis.collections[0].get_offsets() for axis in probes.diversity(part, "b").axes]
        assert [len(one) for one in points] == [4, 2, 2]
        figure = probes.ablation(part, "m", "b", "p")
        assert all(len(drawn[0].get_xdata()) == 2 for drawn in figure.axes[0].containers)
        assert figure.axes[0].get_title() == f"m, b, base seed {part.condition['base_seed']}"
        axis = probes.next_tokens(part, "h").axes[0]
        # the base model and one β, or two β for the balanced set
        assert [len(drawn[0].get_xdata()) for drawn in axis.containers] == [3, 2, 2]
        assert axis.get_title() == f"m\nbase seed {part.condition['base_seed']}"
