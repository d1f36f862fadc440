"""Without a study, ``polycal prune`` lists only results that other results have replaced."""

import json
from pathlib import Path

import pytest

from polycal.audit import prune
from polycal.store import cache
from polycal.study import paths

NAMES = {
    "model": "m",
    "base_seed": "none",
    "data": "d",
    "recipe": "r",
    "beta": "0",
    "seed": "1",
    "lr": "1e-3",
}


def write(path: Path, fingerprint: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {"stage": "finetune", "cell": {}, "code_version": "v", "fingerprint": fingerprint}
    path.write_text(json.dumps(manifest | {"folder": f"{fingerprint[:12]}/weights"}))


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The manifest of a checkpoint that replaced an older one. Both have an entry in the cache, and weights."""
    monkeypatch.chdir(tmp_path)
    manifest = Path(paths.FINETUNED.format(**NAMES))
    for fingerprint in ("a" * 64, "b" * 64):
        write(cache.entry_dir(Path(paths.CACHE), fingerprint) / "manifest.json", fingerprint)
        weights = manifest.parent / fingerprint[:12] / "weights"
        weights.mkdir(parents=True)
        (weights / "model.safetensors").write_bytes(bytes(1000))
    write(manifest, "a" * 64)
    return manifest


def test_only_the_replaced_result_is_listed(checkpoint: Path) -> None:
    listed = [unneeded.path for unneeded in prune.find_replaced()]
    assert listed == [cache.entry_dir(Path(paths.CACHE), "b" * 64), checkpoint.parent / ("b" * 12)]


def test_unfinished_training_is_kept(checkpoint: Path) -> None:
    checkpoint.unlink()
    folders = {path.path.parent for path in prune.find_replaced()}
    assert checkpoint.parent not in folders
    assert checkpoint.parent in {path.path.parent for path in prune.find_unneeded([])}


def test_a_figure_is_listed_when_no_report_contains_it_any_more(checkpoint: Path) -> None:
    stored = cache.entry_dir(Path(paths.FIGURES), "c" * 64)
    in_report = Path("results/studies/s/figures/ece.svg")
    in_report.parent.mkdir(parents=True)
    in_report.write_text("figure")
    cache.store(Path(paths.FIGURES), "c" * 64, {"figure.svg": in_report})
    assert stored not in [unneeded.path for unneeded in prune.find_replaced()]
    in_report.unlink()
    listed = {unneeded.path: unneeded for unneeded in prune.find_replaced()}
    assert listed[stored].what == "figure of no report"
    assert listed[stored].size > len("figure")
    prune.remove([listed[stored]])
    assert not stored.exists()
