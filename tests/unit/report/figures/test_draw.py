"""Which figures are drawn, and their files."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from helpers import drawings
from matplotlib.text import Text

from polycal.report import captions
from polycal.report.figures import draw, writing
from polycal.report.study_tables import StudyTables


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    """All figures of the study, drawn once."""
    return draw.draw(study, tmp_path_factory.mktemp("drawn"))


def test_figures_are_drawn_in_two_forms_and_the_same_bytes_again(study, drawn, tmp_path):
    again = draw.draw(study, tmp_path)
    kinds = {captions.kind_of(path.stem) for path in drawn}
    without_truth = {"overview", "confidence", "beta", "ece", "reliability", "tradeoff"}
    measured = {"measuregap", "measureauroc"}
    assert kinds == without_truth | measured | {"recalibration", "temperature", "truth"}
    for one, two in zip(drawn, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.with_suffix(".svg").read_text() == two.with_suffix(".svg").read_text()


def test_figures_of_several_processes_have_the_same_bytes(study, tmp_path):
    figures = drawings.of_ece(study)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert len(list(writing.one_by_one(figures, here))) == len(figures)
    assert len(list(writing.in_processes(drawings.of_ece, study, list(figures), there, 2))) == len(figures)
    made = sorted(there.iterdir())
    assert [path.name for path in made] == sorted(
        f"{name}{end}" for name in figures for end in writing.UNDATED
    )
    for path in made:
        assert path.read_bytes() == (here / path.name).read_bytes(), path.name


def test_a_killed_process_is_a_sentence(study, tmp_path):
    with pytest.raises(writing.WorkerError, match="a process that draws figures was killed"):
        list(writing.in_processes(drawings.killing, study, ["ece-killed"], tmp_path, 1))


def test_figures_of_tables_that_were_not_measured_are_left_out(study):
    kinds = {captions.kind_of(name) for name in draw.drawings(study)}
    assert {"recalibration", "temperature", "truth"} <= kinds
    bare = {name: table for name, table in study.tables.items() if name not in ("recalibration", "truth")}
    fewer = {captions.kind_of(name) for name in draw.drawings(StudyTables(bare, {}))}
    assert kinds - fewer == {"recalibration", "temperature", "truth"}


def test_of_several_seeds_the_mean_is_drawn_or_the_first_where_there_are_no_means(two_seeds):
    drawings = draw.drawings(two_seeds)
    kinds = {captions.kind_of(name): name for name in drawings}
    assert len(kinds) == len(drawings)
    without_means = {kind for kind, name in kinds.items() if "-all-" not in name}
    assert without_means <= {"reliability", "truth"}
    assert kinds["reliability"] == "reliability-llama-alpaca-1-mmlu-prox-texts-0shot"
    overview = drawings["overview-all-mmlu-prox-texts-0shot"]()
    assert any("mean over seeds" in text.get_text() for text in overview.findobj(Text))
    plt.close(overview)


def test_a_mean_is_failed_where_a_training_is(two_seeds):
    holes = pd.DataFrame(
        [{"model": "llama", "base_seed": "none", "data": "alpaca", "recipe": "paper", "beta": "0.1", "seed": "2",
          "benchmark": "mmlu-prox", "protocol": "texts-0shot", "language": "yo", "resource": "low", "stage": "score",
          "reason": "it broke"}]
    )  # fmt: skip
    study = StudyTables({**two_seeds.tables, "holes": holes}, {})
    overview = draw.drawings(study)["overview-all-mmlu-prox-texts-0shot"]
    assert overview.holes.seed.tolist() == ["all"]
    assert overview.holes.language.tolist() == ["yo"]


def test_a_study_without_tuned_checkpoints_has_a_folder_without_figures(study, tmp_path):
    untuned = {name: study[name][study[name].data == "none"] for name in ("cells", "means", "reliability")}
    assert draw.draw(StudyTables(untuned, {}), tmp_path / "figures") == []
    assert "no figures" in (tmp_path / "figures" / draw.CAPTIONS).read_text()


def test_each_figure_has_its_caption_beside_it(drawn):
    text = drawn[0].with_name(draw.CAPTIONS).read_text()
    assert all(f"**{path.stem}.**" in text for path in drawn)
