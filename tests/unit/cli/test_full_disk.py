"""A disk that is really full: each fetching stage fails with one sentence and leaves no incomplete file."""

import errno
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from polycal.artifacts import files

HERE = Path(__file__).parent
QUESTIONS = HERE.parents[1] / "real/questions.jsonl"


@pytest.fixture
def disk(tmp_path):
    """A file system of one megabyte with four kilobytes left."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted as root")
    (folder / "filling").write_bytes(bytes((1 << 20) - 4096))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("stage", ["fetch-instructions", "fetch-benchmark"])
def test_a_full_disk_gives_one_sentence(disk, tmp_path, stage):
    talk = {
        "messages": [{"role": "user", "content": "Q" * 5000}, {"role": "assistant", "content": "A" * 5000}]
    }
    (tmp_path / "talks.jsonl").write_text(f"{json.dumps(talk)}\n" * 20)
    cell = {
        "fetch-instructions": {
            "data": "mine",
            "source": {"path": str(tmp_path / "talks.jsonl")},
            "settings": {"format": "messages", "seed": "0", "heldout": "0", "language": "en"},
        },
        "fetch-benchmark": {
            "benchmark": "mine",
            "language": "en",
            "source": {"path": str(QUESTIONS)},
            "settings": {"format": "file"},
        },
    }[stage]
    out = disk / "made.parquet"
    command = [sys.executable, "-c", "from polycal.cli import main; main()", stage]
    cell_json = json.dumps({"stage": stage.replace("-", "_"), **cell})
    ran = subprocess.run([*command, "--cell", cell_json, "--out", str(out)], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("polycal: ")
    assert "the disk is full" in ran.stderr
    assert [path.name for path in disk.iterdir()] == ["filling"]


@pytest.mark.parametrize("numbers", [10, 1_000_000], ids=["small", "large"])
def test_a_full_disk_is_recognized_in_errors_of_pytorch(numbers):
    with pytest.raises(RuntimeError) as failed:
        torch.save({"weights": torch.zeros(numbers)}, "/dev/full")
    assert files.is_disk_full(failed.value)


def test_a_full_disk_is_recognized_in_errors_of_safetensors(disk):
    with pytest.raises(safetensors.SafetensorError) as failed:
        safetensors.torch.save_file({"weights": torch.zeros(100_000)}, disk / "weights")
    assert files.is_disk_full(failed.value)


def test_other_errors_are_not_taken_for_a_full_disk():
    assert not files.is_disk_full(RuntimeError("the device is lost"))
    assert not files.is_disk_full(FileNotFoundError(2, "No such file or directory"))


def test_the_sentence_names_the_place_and_the_machine(disk, monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "c1")
    with pytest.raises(OSError, match="No space left") as failed:
        files.write_text(disk / "made", "x" * 100_000)
    assert files.is_disk_full(failed.value)
    monkeypatch.setenv("TMPDIR", str(disk))
    monkeypatch.setattr(tempfile, "tempdir", None)
    sentence = files.disk_full_in_words(RuntimeError("iostream error"))
    assert sentence == (
        f"the disk is full; make room and start again, finished results are kept ({disk} on c1)."
    )
    full = OSError(errno.ENOSPC, "No space left on device", "/somewhere/file")
    assert "(/somewhere/file on c1)" in files.disk_full_in_words(full)
