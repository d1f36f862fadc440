"""Accuracy, gap and ECE by group of questions."""

from pathlib import Path

import numpy as np
import pytest
from helpers import score_records
from helpers.score_records import cell, score_row

from polycal.analysis import group_calibration, group_tables, summary
from polycal.artifacts import records


def write(path: Path, language: str, groups: dict[str, tuple[int, float]], model: str = "m") -> Path:
    """A file with confidence 0.8 on all questions; ``groups`` has the number of questions and the accuracy."""
    rows = []
    for group, (count, share) in groups.items():
        for number in range(count):
            right = number < share * count
            row = score_row(f"{group}{number}", np.log([0.8, 0.2]).tolist(), 0 if right else 1, group=group)
            rows.append(row)
    named = cell(language=language, model=model, settings={"candidates": "letters"})
    return score_records.write(path, named, rows)


def test_each_group_is_measured_by_itself(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "de.parquet", "de", {"law": (40, 0.5), "art": (20, 0.8)}),
        write(tmp_path / "sw.parquet", "sw", {"law": (40, 0.25), "art": (20, 0.2)}),
    ]
    table = group_calibration.by_group(files).set_index(["language", "group"])
    assert table.accuracy.round(6).to_dict() == {
        ("de", "art"): 0.8,
        ("de", "law"): 0.5,
        ("sw", "art"): 0.2,
        ("sw", "law"): 0.25,
        ("mean", "art"): 0.5,
        ("mean", "law"): 0.375,
    }
    assert table.gap.to_numpy() == pytest.approx((0.8 - table.accuracy).to_numpy(), abs=1e-6)
    # all confidences are equal, so there is one bin and the ECE is the absolute gap
    single = table[table.index.get_level_values("language") != "mean"]
    assert single.ece.to_numpy() == pytest.approx(single.gap.abs().to_numpy(), abs=1e-6)
    assert table.ece["mean", "law"] == pytest.approx((0.3 + 0.55) / 2, abs=1e-6)
    assert table.n.to_dict()["mean", "law"] == 80
    for metric in group_tables.METRICS:
        assert (table[f"{metric}_low"] <= table[metric]).all()
        assert (table[metric] <= table[f"{metric}_high"]).all()
    # twice the binomial standard error; the tolerance allows for chance in the bootstrap samples
    half = (table.accuracy_high - table.accuracy_low)["de", "law"] / 2
    assert half == pytest.approx(1.96 * np.sqrt(0.25 / 40), rel=0.15)
    assert (table.ece_floor > 0).all()
    assert table.ece_floor["de", "art"] > table.ece_floor["de", "law"]


def test_groups_add_up_to_the_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "de.parquet", "de", {"law": (40, 0.5), "art": (20, 0.8), "sport": (3, 1.0)})
    table = group_calibration.by_group([file])
    [whole] = summary.summary([file]).to_dict("records")
    assert table.n.sum() == whole["n"]
    assert (table.accuracy * table.n).sum() / table.n.sum() == pytest.approx(whole["accuracy"])
    assert set(table.language) == {"de"}


def test_questions_without_a_group_and_runs_stay_apart(tmp_path: Path) -> None:
    rows = [score_row("a", [-1.0, -2.0], 0, group=None), score_row("b", [-1.0, -2.0], 1, group="law")]
    named = cell(language="de", settings={"candidates": "letters"})
    files = [score_records.write(tmp_path / "a.parquet", named, rows)]
    files.append(write(tmp_path / "b.parquet", "de", {"law": (4, 0.5)}, model="other"))
    table = group_calibration.by_group(files)
    assert list(zip(table.run, table.group, table.n, strict=True)) == [
        ("llama", "law", 1),
        ("llama", "none", 1),
        ("other", "law", 4),
    ]
    assert records.read_scores(files[0])["group"].null_count == 1
