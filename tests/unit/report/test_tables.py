"""Table 1, metrics by language, data sets compared with each other, and how these tables are written."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from polycal.report import tables
from polycal.report.study_tables import StudyTables


def test_table_one_is_the_mean_over_languages_and_its_change(study):
    table = tables.numbers(study).set_index("beta")
    assert list(table.index) == ["none", "0", "0.1"]
    cells = study["cells"]
    for beta, row in table.iterrows():
        chosen = cells[cells.beta == beta]
        assert row.languages == 4
        for metric in tables.METRICS:
            assert row[metric] == pytest.approx(chosen[metric].mean())
            assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]
    for metric in tables.CHANGED:
        change = table[metric]["0.1"] - table[metric]["0"]
        assert table[f"{metric}_change"]["0.1"] == pytest.approx(change)
        assert table[f"{metric}_change_low"]["0.1"] <= change <= table[f"{metric}_change_high"]["0.1"]
        # these checkpoints are not smoothed, so they have no change
        assert table[f"{metric}_change"][["none", "0"]].isna().all()


def test_table_one_for_reading_shows_the_same_numbers(study):
    full, shown = tables.numbers(study), tables.table_one(study)
    assert list(shown.columns)[:6] == ["Benchmark", "Protocol", "Model", "Data", "Setting", "Languages"]
    assert list(shown.Setting) == ["base", "β = 0", "β = 0.1"]
    last = full.iloc[-1]
    assert shown["Δ ECE"].iloc[-1] == (
        f"{last.ece_change:+.3f} [{last.ece_change_low:+.3f}, {last.ece_change_high:+.3f}]"
    )
    assert list(shown["Δ ECE"][:2]) == ["", ""]
    assert shown.Accuracy[0] == (
        f"{full.accuracy[0]:.3f} [{full.accuracy_low[0]:.3f}, {full.accuracy_high[0]:.3f}]"
    )


def test_seeds_and_their_mean_are_distinguished(two_seeds):
    table = tables.table_one(two_seeds)
    assert set(table.Seed) == {"none", "1", "2", "all"}
    assert not table.duplicated(["Benchmark", "Protocol", "Model", "Data", "Seed", "Setting"]).any()
    # the mean over seeds has a row of means but no values in single languages
    wide = tables.by_language(two_seeds, "mmlu-prox", "ece")
    assert "alpaca, 2, β = 0.1" in wide.columns
    assert wide.set_index("Code")["alpaca, all, β = 0.1"].isna()["en"]


def test_the_table_by_language_shows_every_cell_and_the_means(study):
    wide = tables.by_language(study, "mmlu-prox", "ece")
    assert list(wide.columns[5:]) == ["base", "alpaca, β = 0", "alpaca, β = 0.1"]
    assert list(wide.Code) == ["de", "en", "hi", "yo", "", "", "", ""]
    assert list(wide.Resource[:4]) == ["high", "high", "mid", "low"]
    assert list(wide.Language[4:]) == ["mean", "mean, high", "mean, mid", "mean, low"]
    cells = study["cells"].set_index(["beta", "language"])
    rows = wide[wide.Code != ""].set_index("Code")
    for code in ("en", "de", "hi", "yo"):
        assert rows["alpaca, β = 0.1"][code] == cells.ece["0.1", code]
    assert wide["base"][4] == pytest.approx(wide["base"][:4].mean())
    assert wide["base"][5] == pytest.approx(wide["base"][:2].mean())


def test_the_seed_of_the_base_model_is_shown_where_there_are_several(study, tmp_path):
    assert "Base seed" not in tables.table_one(study)
    tables.write(study, tmp_path / "one")
    assert "base_seed" not in pd.read_csv(tmp_path / "one/table1.csv")
    doubled = {
        name: pd.concat([study[name].assign(base_seed="0"), study[name].assign(base_seed="1")])
        for name in ("cells", "means", "contrasts", "reliability")
    }
    several = StudyTables(doubled, {})
    assert list(tables.table_one(several)["Base seed"]) == ["0"] * 3 + ["1"] * 3
    tables.write(several, tmp_path / "two")
    assert list(pd.read_csv(tmp_path / "two/table1.csv").base_seed) == [0, 0, 0, 1, 1, 1]
    wide = tables.by_language(several, "mmlu-prox", "ece")
    assert list(wide["Base seed"]) == ["0"] * 8 + ["1"] * 8


def test_an_untuned_study_has_a_table_without_changes(study):
    untuned = {
        name: study[name][study[name].data == "none"].reset_index(drop=True)
        for name in ("cells", "means", "reliability")
    }
    table = tables.table_one(StudyTables(untuned, {}))
    assert list(table.Setting) == ["base"]
    assert list(table["Δ ECE"]) == [""]


def test_all_tables_are_written_in_three_forms(study, tmp_path):
    written = tables.write(study, tmp_path)
    stems = ["table1", *(f"mmlu-prox-{metric}" for metric in tables.METRICS)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{stem}.{kind}" for stem in stems for kind in ("csv", "md", "tex")
    )
    assert sorted(written) == sorted(tmp_path.iterdir())
    back = pd.read_csv(tmp_path / "table1.csv", keep_default_na=False, dtype={"beta": str})
    assert list(back.beta) == ["none", "0", "0.1"]
    for path in tmp_path.glob("*.md"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert re.fullmatch(r"(\| --- )+\|", lines[1])


def rows_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]


def test_latex_has_a_cell_a_column_and_no_bare_letters(study, tmp_path):
    for path in tables.write(study, tmp_path):
        if path.suffix == ".tex":
            text = path.read_text(encoding="utf-8")
            columns = re.search(r"\\begin\{(?:tabular|longtable)\}\{([lr]+)\}", text)[1]
            assert {len(re.split(r"(?<!\\)&", row)) for row in rows_of(text)} == {len(columns)}
            assert not set("βΔ") & set(text)
    one = (tmp_path / "table1.tex").read_text(encoding="utf-8")
    assert one.count(r"$\beta$ = 0.1") == 1
    assert r"\emph{mmlu-prox, texts-0shot}" in one


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_is_set_by_latex(study, two_seeds, tmp_path):
    for name, one in {"study": study, "two_seeds": two_seeds}.items():
        written = [p for p in tables.write(one, tmp_path / name) if p.suffix == ".tex"]
        head = r"\documentclass{article}\usepackage{booktabs,longtable}\begin{document}\footnotesize"
        body = "".join(rf"\input{{{path}}}\clearpage" for path in written)
        (tmp_path / f"{name}.tex").write_text(rf"{head}{body}\end{{document}}", encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert ran.returncode == 0, ran.stdout[-2000:]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 10_000
