"""What ``polycal plan`` says about the differences that a study can show."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers.measured import write_tables
from helpers.score_records import study

from polycal.analysis import power
from polycal.study import config_loading, detectable, grid, identities
from polycal.study.detectable import PilotError

ROOT = Path(__file__).parents[3]


def config(*names):
    merged = {}
    for name in ("languages", "mini", *names):
        merged = config_loading.merge(merged, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    return config_loading.resolve(merged)


def row(benchmark="global-mmlu-mini", seeds=0.0004):
    contrast = ("smoothed_minus_unsmoothed", benchmark, "ece")
    return dict(zip(power.COLUMNS, (*contrast, 300, 0.0001, 0.0001, seeds, 0.0001), strict=True))


def write(folder, *rows):
    pd.DataFrame(rows, columns=list(power.COLUMNS)).to_csv(folder / detectable.VARIANCES, index=False)
    return folder


def test_the_smallest_difference_of_every_benchmark_is_printed(tmp_path):
    text = list(detectable.lines(config("mini-seeds"), write(tmp_path, row())))
    [line] = [one for one in text if one.startswith("global-mmlu-mini")]
    expected = power.smallest_difference(
        power.of_rows(detectable.variances(tmp_path))[0][1], power.Design(300, 2, 5)
    )
    assert line.split()[:4] == ["global-mmlu-mini", "300", "2", "5"]
    assert float(line.split()[-1]) == pytest.approx(expected, abs=5e-5)
    # the variances of another benchmark are the best guess for one that the pilot lacks
    assert any(one.startswith("mmlu-prox-mini") for one in text)
    assert "questions 29%, seeds 57%, bases 14%" in text[-1]


def test_a_study_of_one_seed_is_told_what_it_cannot_say(tmp_path):
    text = "\n".join(detectable.lines(config(), write(tmp_path, row())))
    assert "cannot say what another training would change" in text.replace("\n", " ")


def test_a_pilot_of_one_seed_says_nothing_about_several(tmp_path):
    scores = study(tmp_path, n=60)
    write_tables(scores, tmp_path / "pilot")
    text = list(detectable.lines(config("mini-seeds"), tmp_path / "pilot"))
    assert any("? (bases)" in line for line in text)
    assert any("too few trainings" in line for line in text)
    assert any("? (bases)" not in line for line in detectable.lines(config(), tmp_path / "pilot"))


def test_variances_are_found_in_a_measured_study(tmp_path):
    write_tables(study(tmp_path, n=60, seeds=("1", "2", "3")), tmp_path / "pilot")
    found = detectable.variances(tmp_path / "pilot").set_index(["contrast", "metric"])
    assert set(found.benchmark) == {"mmlu-prox"}
    one = found.loc[("smoothed_minus_unsmoothed", "gap")]
    assert one.n == 60
    assert one.questions > 0
    assert one.seeds >= 0


def test_a_folder_without_tables_is_no_pilot(tmp_path):
    with pytest.raises(PilotError, match=r"contrasts.parquet is missing; a pilot must be"):
        detectable.variances(tmp_path)
    pd.DataFrame({"contrast": ["x"]}).to_csv(tmp_path / detectable.VARIANCES)
    with pytest.raises(PilotError, match="column 'bases' is missing"):
        detectable.variances(tmp_path)


def test_the_study_over_seeds_has_ten_trainings_of_each_cell_of_the_demo():
    demo, seeds = config(), config("mini-seeds")
    cells, more = (set(grid.cells(grid.blocks(one))) for one in (demo, seeds))
    assert cells < more
    tuned = {cell for cell in more if cell.data != "none"}
    assert len(tuned) == 10 * len({cell for cell in cells if cell.data != "none"})
    assert len(more - tuned) == 5 * len({cell for cell in cells if cell.data == "none"})
    assert len(grid.checkpoints(grid.blocks(seeds), tuned=True)) == 180
    # the demo's results have the same identity, so that they come from the cache
    for names in grid.checkpoints(grid.blocks(demo), tuned=True):
        lr = {"lr": "0.001"}
        assert identities.finetune(demo, **names, **lr) == identities.finetune(seeds, **names, **lr)
    names = {
        **grid.checkpoints(grid.blocks(demo))[0],
        "benchmark": "global-mmlu-mini",
        "protocol": "texts-0shot",
    }
    assert identities.score(demo, ["en"], **names) == identities.score(seeds, ["en"], **names)
