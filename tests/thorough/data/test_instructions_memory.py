"""Adapting a large instruction set in little memory, in a process of its own."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from polycal.artifacts import records

ROWS = 200_000
WATCHED = """
import sys, threading, time
from pathlib import Path
import datasets, pyarrow.dataset
from polycal.data import instructions

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) // 1024

def watch():
    global peak
    while True:
        peak = max(peak, private())
        time.sleep(0.005)

peak = before = private()
threading.Thread(target=watch, daemon=True).start()
settings = {"format": "openhermes", "rows": None, "seed": "0", "heldout": "0.02", "language": "en"}
cell = {"data": "large", "source": {"path": sys.argv[1]}, "settings": settings}
instructions.fetch_instructions(cell, out=Path(sys.argv[2]), stamp=dict)
print(peak - before)
"""


def test_two_hundred_thousand_conversations_in_one_array(tmp_path: Path) -> None:
    # 350 MB of JSON in one line of one file, like OpenHermes-2.5 with its million rows in two gigabytes.
    source = random.Random(0)
    words = [
        "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 9))) for _ in range(20_000)
    ]
    folder = tmp_path / "repository"
    folder.mkdir()
    with (folder / "openhermes2_5.json").open("w") as file:
        for number in range(ROWS):
            texts = [" ".join(source.choices(words, k=count)) for count in (60, 200)]
            turns = [{"from": who, "value": text} for who, text in zip(("human", "gpt"), texts, strict=True)]
            row = {"conversations": turns, "source": f"source {number % 7}"}
            file.write(("[" if number == 0 else ",") + json.dumps(row))
        file.write("]")
    assert (folder / "openhermes2_5.json").stat().st_size > 300e6
    out = tmp_path / "out.parquet"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WATCHED, str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert pq.read_metadata(out).num_rows == ROWS
    assert records.metadata(out)["by_split"] == {"heldout": 4000, "train": 196_000}
    # Private memory in megabytes; pages of the mapped files are the system's to take back.
    assert int(done.stdout) < 160
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
