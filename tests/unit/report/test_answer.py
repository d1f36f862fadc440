"""The answer has the values of the tables, and the cautions say what a study lacks."""

import re

import pandas as pd

from polycal.report import answer
from polycal.report.study_tables import StudyTables


def changed(study, **tables):
    return StudyTables({**study.tables, **tables}, study.languages)


def test_each_statement_has_the_numbers_of_its_comparisons(study):
    tuning, smoothing, temperature = answer.answer(study)
    contrasts = study["contrasts"].query("language == 'mean'")
    gap = contrasts.query("contrast == 'tuned_minus_base' and metric == 'gap' and beta == '0'").iloc[0]
    made = "made the model more" if gap.low > 0 else "did not make the model more"
    assert f"{made} over-confident" in tuning.sentence
    assert f"{gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] (llama on alpaca)" in tuning.numbers
    smoothed = contrasts.query("contrast == 'smoothed_minus_unsmoothed' and beta == '0.1'")
    ece, accuracy = (smoothed[smoothed.metric == metric].iloc[0] for metric in ("ece", "accuracy"))
    assert (
        f"β = 0.1 {'lowered' if ece.high < 0 else 'did not change'} ECE beyond chance." in smoothing.sentence
    )
    for row in (ece, accuracy):
        assert f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" in smoothing.numbers
    rows = study["recalibration"].query("language == 'mean' and method == 'english' and beta == '0'")
    [cut] = rows.relative_ece_reduction
    assert (
        f"{'lowered' if cut > 0 else 'raised'} the ECE of the same unsmoothed models by {abs(cut):.0%}."
        in temperature.sentence
    )


def test_a_single_comparison_and_a_rise_have_sentences_of_their_own(study):
    contrasts, recalibration = study["contrasts"], study["recalibration"]

    def sentences(low, high, cut):
        tables = {
            "contrasts": contrasts.assign(low=low, high=high),
            "recalibration": recalibration.assign(relative_ece_reduction=cut),
        }
        return [one.sentence for one in answer.answer(changed(study, **tables))]

    tuning, smoothing, temperature = sentences(0.1, 0.2, -0.3)
    assert tuning == "Tuning without smoothing made the model more over-confident."
    assert smoothing == "Smoothing with β = 0.1 raised ECE beyond chance."
    assert temperature.endswith("raised the ECE of the same unsmoothed models by 30%.")
    tuning, smoothing, temperature = sentences(-0.2, -0.1, 0.3)
    assert tuning == "Tuning without smoothing did not make the model more over-confident beyond chance."
    assert smoothing == "Smoothing with β = 0.1 lowered ECE beyond chance."
    assert temperature.endswith("lowered the ECE of the same unsmoothed models by 30%.")
    assert sentences(-0.1, 0.1, 0.3)[1] == "Smoothing with β = 0.1 did not change ECE beyond chance."
    both = changed(
        study, contrasts=pd.concat([contrasts, contrasts.assign(data="tulu")]).assign(low=0.1, high=0.2)
    )
    tuning, smoothing, _ = answer.answer(both)
    assert "made models more over-confident in 2 of 2 comparisons (2 data sets)." in tuning.sentence
    assert (
        "lowered ECE beyond chance in none of 2 comparisons (2 data sets), and raised it in 2."
        in smoothing.sentence
    )


def test_a_range_is_given_where_there_are_several_comparisons_only(study):
    def twice(table):
        return pd.concat([study[table], study[table].assign(data="tulu")])

    for one in answer.answer(study):
        assert not re.search(r"least by|from .* to|between", one.numbers), one.numbers
    both = changed(study, contrasts=twice("contrasts"), recalibration=twice("recalibration"))
    tuning, smoothing, temperature = answer.answer(both)
    assert re.search(r"least by .*\(llama on alpaca\), most by .*\(llama on tulu\)\.$", tuning.numbers)
    assert re.search(r"from .* to .*\. Accuracy changed by between .* and ", smoothing.numbers)
    assert temperature.numbers.startswith("The cut is between ")


def test_comparisons_that_lack_a_cell_are_left_out(study):
    contrasts = study["contrasts"]
    other = contrasts.assign(data="tulu", **dict.fromkeys(("difference", "low", "high"), float("nan")))
    both = changed(study, contrasts=pd.concat([contrasts, other]))
    assert answer.answer(both)[:2] == answer.answer(study)[:2]


def test_rows_over_all_seeds_are_taken_where_there_are_several(two_seeds):
    tuning, *_ = answer.answer(two_seeds)
    rows = two_seeds["contrasts"].query("contrast == 'tuned_minus_base' and metric == 'gap' and beta == '0'")
    [row] = rows[(rows.language == "mean") & (rows.seed == "all")].to_dict("records")
    assert f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" in tuning.numbers
    assert "Every model was tuned with 2 seeds." in " ".join(answer.cautions(two_seeds))


def test_a_study_without_tuning_has_no_answer(study):
    cells = study["cells"].query("beta == 'none'")
    bare = StudyTables({"cells": cells, "means": study["means"], "reliability": study["reliability"]}, {})
    assert answer.answer(bare) == []
    assert not any("trained" in caution for caution in answer.cautions(bare))


def test_few_questions_are_named_first_and_guessing_last(study):
    assert "trained once (seed 42)" in answer.cautions(study)[0]
    floors = study["cells"].ece_floor
    assert f"of {floors.min():.3f} to {floors.max():.3f}" in answer.cautions(study)[1]
    cells = study["cells"].assign(n=8, above_chance=False)
    first, *_, last = answer.cautions(changed(study, cells=cells))
    assert first.startswith("A benchmark has only 8 questions in a language.")
    assert f"In {len(cells)} of {len(cells)} cells" in last
