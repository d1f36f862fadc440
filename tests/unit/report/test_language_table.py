"""The main table: means over models and data sets with their range, and failed if a result is missing."""

import pandas as pd

from polycal.report import language_table
from polycal.report.study_tables import StudyTables


def test_a_value_is_the_mean_over_models_with_its_range(study):
    cells = study["cells"]
    doubled = pd.concat([cells, cells.assign(model="other", gap=cells.gap + 0.2)])
    [part] = language_table.by_benchmark(StudyTables({**study.tables, "cells": doubled}, study.languages))
    assert part["name"] == "mmlu-prox, texts-0shot"
    table = part["table"].set_index("Code")
    assert table.Language["yo"] == "Yorùbá <b>"
    gap = cells.query("language == 'yo' and beta == '0'").gap.iloc[0]
    assert table["Gap, β = 0"]["yo"] == f"{gap + 0.1:+.2f} ({gap:+.2f} to {gap + 0.2:+.2f})"
    assert list(table.Level) == ["high", "high", "mid", "low"]


def test_a_value_that_lacks_a_cell_is_failed(study):
    lost = study["cells"].query("language == 'yo' and beta == '0'")
    cells = study["cells"].drop(index=lost.index)
    keys = [
        "model",
        "base_seed",
        "data",
        "recipe",
        "beta",
        "seed",
        "benchmark",
        "protocol",
        "language",
        "resource",
    ]
    holes = lost[keys].assign(stage="score", reason="killed.")
    [part] = language_table.by_benchmark(StudyTables({**study.tables, "cells": cells, "holes": holes}, {}))
    table = part["table"].set_index("Code")
    assert table["ECE, β = 0"]["yo"] == "failed"
    there = study["cells"].query("language == 'yo' and beta == '0.1'").ece.iloc[0]
    assert table["ECE, β = 0.1"]["yo"] == f"{there:.2f}"


def test_the_mass_on_letters_is_a_column_of_their_protocols_only(study):
    cells = study["cells"]
    letters = cells.assign(protocol="letters-0shot", candidate_mass=0.25)
    lost = letters.query("language == 'yo' and beta == '0'")
    holes = lost[[*cells.columns[:10]]].assign(stage="score", reason="killed.")
    tables = {**study.tables, "cells": pd.concat([cells, letters.drop(index=lost.index)]), "holes": holes}
    of_letters, of_texts = language_table.by_benchmark(StudyTables(tables, study.languages))
    assert not [name for name in of_texts["table"] if name.startswith("Mass")]
    table = of_letters["table"].set_index("Code")
    assert list(table["Mass on letters, β = 0"]) == ["0.25", "0.25", "0.25", "failed"]


def test_a_base_model_at_chance_is_marked_and_the_share_of_english_names_is_shown(study):
    cells = study["cells"].copy()
    base = cells.data == "none"
    cells["above_chance"] = ~(base & (cells.language == "yo"))
    shares = {("mmlu-prox", "yo"): 0.125, ("mmlu-prox", "en"): 1.0, ("another", "de"): 0.5}
    [part] = language_table.by_benchmark(StudyTables({**study.tables, "cells": cells}, {}), shares)
    table = part["table"].set_index("Code")
    accuracy = cells[base].set_index("language").accuracy
    expected = {code: f"{value:.2f}" for code, value in accuracy.items()}
    assert table["Base accuracy"].to_dict() == {**expected, "yo": f"{accuracy['yo']:.2f} chance"}
    assert table["As in English"].to_dict() == {**dict.fromkeys(expected, ""), "yo": "0.12", "en": "1.00"}
    # a tuned model at chance is no reason to mark the base model, and without shares there is no column
    cells["above_chance"] = base
    [part] = language_table.by_benchmark(StudyTables({**study.tables, "cells": cells}, {}), {})
    assert "chance" not in " ".join(part["table"]["Base accuracy"])
    assert "As in English" not in part["table"]
