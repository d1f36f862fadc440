"""``--configfile`` takes several files, as Snakemake's option does."""

from pathlib import Path

import pytest

from polycal.cli import configfile


@pytest.mark.parametrize(
    ("args", "groups", "others"),
    [
        (["plan", "--configfile", "a.yaml", "b.yaml"], [["a.yaml", "b.yaml"]], ["plan"]),
        (["plan", "--configfile", "a.yaml", "--configfile", "b.yml"], [["a.yaml"], ["b.yml"]], ["plan"]),
        (
            ["status", "--configfile", "a.yaml", "b.json", "score"],
            [["a.yaml", "b.json"]],
            ["status", "score"],
        ),
        (["status", "--configfile", "a.yaml", "--json"], [["a.yaml"]], ["status", "--json"]),
        (["status", "results/landing.yaml"], [], ["status", "results/landing.yaml"]),
        (["plan", "--configfile"], [], ["plan"]),
    ],
)
def test_all_files_after_the_option_belong_to_it(args, groups, others):
    joined = configfile.joined(args)
    values = [joined[i + 1] for i, arg in enumerate(joined[:-1]) if arg == "--configfile"]
    assert [value.split(configfile.SEPARATOR) for value in values] == groups
    assert [arg for arg in joined if arg != "--configfile" and arg not in values] == others
    assert configfile.files(values) == [Path(name) for group in groups for name in group]


def test_later_files_change_earlier_ones(tmp_path, monkeypatch):
    root = Path(__file__).parents[3]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "over.yaml").write_text("study: over\n")
    files = [*(str(root / path) for path in configfile.BASE), str(root / "config/mini.yaml"), "over.yaml"]
    assert configfile.load([configfile.SEPARATOR.join(files)]).study == "over"
    assert configfile.load(files).study == "over"
