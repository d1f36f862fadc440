"""The table of measures of confidence in generated answers has the values of the table that was measured."""

import pandas as pd
import pytest
from helpers import generations
from helpers.stamps import FixedStamp

from polycal.analysis import generation_table
from polycal.report import generation_section, study_holes
from polycal.report.study_tables import StudyTables


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generation")
    generation_table.measure_generation(
        {"settings": generations.SETTINGS},
        generations=generations.study(folder),
        out=folder / "out",
        stamp=FixedStamp(),
    )
    return pd.read_parquet(folder / "out/generation.parquet")


def test_each_checkpoint_has_a_row_for_each_measure_with_means_over_languages(measured):
    table = generation_section.table(StudyTables({"generation": measured}, {}))
    names = list(generation_section.MEASURES.values())
    assert list(zip(table.Setting, table.Confidence, strict=True)) == [
        (setting, name) for setting in ("base", "β = 0") for name in names
    ]
    means = measured[(measured.language == "mean") & (measured.resource == "all")]
    [tuned] = means[(means.beta == "0") & (means.measure == "entropy")].to_dict("records")
    [shown] = table[(table.Setting == "β = 0") & (table.Confidence == "exp(−semantic entropy)")].to_dict(
        "records"
    )
    assert shown["Gap"] == f"{tuned['gap']:+.3f} [{tuned['gap_low']:+.3f}, {tuned['gap_high']:+.3f}]"
    assert shown["AUROC"] == f"{tuned['auroc']:.3f} [{tuned['auroc_low']:.3f}, {tuned['auroc_high']:.3f}]"


def test_a_benchmark_in_one_language_is_shown_in_it_and_a_mean_that_lacks_one_is_failed(measured):
    english = measured[measured.language == "en"]
    table = generation_section.table(StudyTables({"generation": english}, {}))
    assert len(table) == len(english)
    [first] = english[(english.beta == "none") & (english.measure == "cluster_share")].accuracy
    assert table.Accuracy[0].startswith(f"{first:.3f} [")
    metrics = [f"{name}{end}" for name in generation_section.METRICS for end in ("", "_low", "_high")]
    lost = measured.assign(holes=1, **dict.fromkeys(metrics, float("nan")))
    table = generation_section.table(StudyTables({"generation": lost}, {}))
    titles = [title for title, _ in generation_section.METRICS.values()]
    assert (table[titles] == study_holes.FAILED).all(axis=None)
