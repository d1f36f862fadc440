"""The paper's claims beside the measured values, and the summary."""

from helpers.score_records import LANGUAGES

from polycal.report import findings
from polycal.report.study_tables import StudyTables


def test_claim_checks_say_what_the_contrasts_say(study):
    checks = findings.claim_checks(study)
    contrasts = study["contrasts"]
    over = contrasts.query("contrast == 'tuned_minus_base' and beta == '0' and metric == 'gap'")
    over = over[over.language.isin(LANGUAGES)]
    assert f"rose in {(over.difference > 0).sum()} of {len(over)} cells" in checks[0].measured
    rises = "partly" if (over.difference > 0).all() else "no"
    assert checks[0].agrees == ("yes" if (over.low > 0).all() else rises)
    cut = contrasts.query("beta == '0.1' and metric == 'ece' and language == 'mean'")
    cut = cut[cut.contrast == "smoothed_minus_unsmoothed"].iloc[0]
    check = next(check for check in checks if "lowers ECE" in check.claim)
    assert f"llama on alpaca {100 * cut.relative_ece_reduction:.0f}%" in check.measured


def test_of_several_trainings_the_mean_is_one_comparison(two_seeds):
    checks = findings.claim_checks(two_seeds)
    contrasts = two_seeds["contrasts"].query("seed == 'all'")
    over = contrasts.query("contrast == 'tuned_minus_base' and beta == '0' and metric == 'gap'")
    over = over[over.language.isin(LANGUAGES)]
    assert f"rose in {(over.difference > 0).sum()} of {len(LANGUAGES)} cells" in checks[0].measured
    check = next(check for check in checks if "lowers ECE" in check.claim)
    assert check.measured.count("llama on alpaca") == 1
    [mean] = two_seeds["means"].query("beta == '0' and group == 'all' and seed == 'all'").ece
    assert f"ECE {mean:.3f}. With β" in " ".join(findings.summary(two_seeds))


def test_partly_says_how_many_agree_and_how_many_beyond_chance(study):
    cut = {"relative_ece_reduction": 0.2, "relative_ece_reduction_low": -0.1}
    contrasts = study["contrasts"].assign(difference=0.02, low=-0.01, high=0.05, **cut)
    checks = findings.claim_checks(StudyTables({**study.tables, "contrasts": contrasts}, {}))
    supports = {
        check.claim.partition(" of")[0].partition(",")[0]: (check.agrees, check.support) for check in checks
    }
    cells = len(LANGUAGES)
    rises = "Tuning on instruction data makes models over-confident in every language"
    assert supports[rises] == ("partly", f"{cells} of {cells}, 0 beyond chance")
    assert supports["Smoothing with β = 0.1 lowers ECE"] == ("partly", "1 of 1, 0 beyond chance")
    assert supports["Smoothing with β = 0.1 changes accuracy by at most 0.005."] == (
        "partly",
        "0 of 1; no larger fall in 1",
    )


def test_the_summary_gives_the_means_and_names_cells_at_chance(study):
    [paragraph] = findings.summary(study)
    means = study["means"].query("group == 'all' and beta == '0.1'").iloc[0]
    assert f"With β = 0.1: accuracy {means.accuracy:.1%}, confidence {means.confidence:.1%}" in paragraph
    assert "chance" not in paragraph
    cells = study["cells"].assign(above_chance=lambda t: t.language != "yo")
    [paragraph] = findings.summary(StudyTables({**study.tables, "cells": cells}, {}))
    at_chance = (cells.language == "yo").sum()
    assert f"In {at_chance} of {len(cells)} cells accuracy is not distinguishable from chance" in paragraph


def test_the_summary_names_the_effect_of_the_english_temperature(study):
    table = study["recalibration"]
    ece = table[(table.language == "mean") & (table.beta == "0")].groupby("method").ece.mean()
    [paragraph] = findings.summary(study)
    assert f"from {ece['none']:.3f} to {ece['english']:.3f}" in paragraph


def test_a_study_without_tuning_has_no_claims_to_check(study):
    bare = {name: table for name, table in study.tables.items() if name != "contrasts"}
    assert findings.claim_checks(StudyTables(bare, {})) == []


def test_comparisons_with_a_base_model_at_chance_are_left_out(study):
    base = study["cells"].data == "none"
    guesses = study["cells"].language.isin(["yo", "zh"])
    cells = study["cells"].assign(above_chance=~(base & guesses))
    [gap, accuracy] = findings.claim_checks(StudyTables({**study.tables, "cells": cells}, {}))[:2]
    found = study["contrasts"].query("contrast == 'tuned_minus_base' and beta == '0' and metric == 'gap'")
    left = found[found.language.isin(set(LANGUAGES) - {"yo", "zh"})]
    count = len(set(LANGUAGES) & {"yo", "zh"})
    assert len(left)
    assert count
    assert f"rose in {(left.difference > 0).sum()} of {len(left)} cells" in gap.measured
    for check in (gap, accuracy):
        assert check.measured.endswith(f" Left out, because the base model is not above chance: {count}.")
    # the means over languages are as before
    assert (
        findings.claim_checks(study)[2:]
        == findings.claim_checks(StudyTables({**study.tables, "cells": cells}, {}))[2:]
    )


def test_a_claim_without_a_base_model_above_chance_cannot_be_checked(study):
    cells = study["cells"].assign(above_chance=study["cells"].data != "none")
    check = findings.claim_checks(StudyTables({**study.tables, "cells": cells}, {}))[0]
    assert check.agrees == "unknown"
    assert "cannot be checked, because no base model is above chance. Left out, because" in check.measured
