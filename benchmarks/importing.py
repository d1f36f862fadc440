"""Time and memory of ``polycal import`` for a log of Global-MMLU: 42 languages of 14,042 questions.

    python benchmarks/importing.py [--languages 42] [--questions 14042]

The script generates logs in the layout of lm-evaluation-harness, with one file for each of 57 subjects. A line of
about four kilobytes has a question of about 600 bytes and its prompt for each of four options. The files of all
languages are hard links to those of the first language. They need 60 MB of disk, but all of them are read.

The numbers are those of the whole command: wall time, CPU time of all its processes, and peak memory of the largest
process. At most 60 seconds and 2 GB are accepted, on a machine that does nothing else.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

SUBJECTS = 57
TIME = "2026-03-04T05-06-07.890123"
SECONDS, GIGABYTES = 60.0, 2.0
TAGS = [
    "am",
    "ar",
    "bn",
    "cs",
    "de",
    "el",
    "en",
    "es",
    "fa",
    "fil",
    "fr",
    "ha",
    "he",
    "hi",
    "id",
    "ig",
    "it",
    "ja",
    "ko",
    "ky",
    "lt",
    "mg",
    "ms",
    "ne",
    "nl",
    "ny",
    "pl",
    "pt",
    "ro",
    "ru",
    "si",
    "sn",
    "so",
    "sr",
    "sv",
    "sw",
    "te",
    "tr",
    "uk",
    "vi",
    "yo",
    "zh",
]
WORDS = [
    "which",
    "of",
    "the",
    "following",
    "best",
    "describes",
    "how",
    "a",
    "cell,",
    "a",
    "state",
    "or",
    "a",
    "market",
    "changes",
    "when",
    "its",
    "neighbour",
    "does",
]


def line(number: int, subject: str, draw: random.Random) -> str:
    """A question as the harness logs it."""
    question = " ".join(draw.choices(WORDS, k=60))
    options = [" ".join(draw.choices(WORDS, k=8)) for _ in "ABCD"]
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True))
    context = f"{question}\n{listed}\nAnswer:"
    logprob = [draw.uniform(-9, 0) for _ in "ABCD"]
    gold = draw.randrange(4)
    answers = [[str(value), "False"] for value in logprob]
    sample = {
        "doc_id": number,
        "doc": {
            "sample_id": f"{subject}/test/{number}",
            "subject": subject,
            "question": question,
            **{f"option_{letter.lower()}": option for letter, option in zip("ABCD", options, strict=True)},
            "answer": "ABCD"[gold],
        },
        "target": "ABCD"[gold],
        "arguments": {
            f"gen_args_{index}": {"arg_0": context, "arg_1": f" {letter}"}
            for index, letter in enumerate("ABCD")
        },
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": "0" * 64,
        "prompt_hash": "0" * 64,
        "target_hash": "0" * 64,
        "acc": float(logprob.index(max(logprob)) == gold),
    }
    return json.dumps(sample, ensure_ascii=False) + "\n"


def write_logs(folder: Path, languages: int, questions: int) -> int:
    """Write the logs of a run. Returns their size in bytes, with every link counted."""
    run, draw, size = folder / "lab__model", random.Random(3), 0
    run.mkdir(parents=True)
    for index in range(SUBJECTS):
        subject = f"subject_{index}"
        count = questions // SUBJECTS + (index < questions % SUBJECTS)
        first = run / f"samples_global_mmlu_full_{TAGS[0]}_{subject}_{TIME}.jsonl"
        first.write_text("".join(line(number, subject, draw) for number in range(count)), encoding="utf-8")
        size += first.stat().st_size * languages
        for tag in TAGS[1:languages]:
            os.link(first, run / f"samples_global_mmlu_full_{tag}_{subject}_{TIME}.jsonl")
    return size


def measure(*words: str | Path) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak GB of the largest) of a Python process and its children."""
    begun = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, *map(str, words)], dict(os.environ))
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, words))} failed.")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--languages", type=int, default=len(TAGS))
    parser.add_argument("--questions", type=int, default=14_042)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_logs(folder / "logs", arguments.languages, arguments.questions)
        command = "import sys; from polycal.cli import main; sys.argv[0] = 'polycal'; main()"
        wall, cpu, peak = measure(
            "-c", command, "import", "lm-eval", folder / "logs", "--out", folder / "records"
        )
        written = sum(path.stat().st_size for path in (folder / "records").rglob("*.parquet"))
    print(
        f"{arguments.languages} languages × {arguments.questions} questions, {size / 1e9:.2f} GB of logs:"
        f" {wall:.1f} s, {cpu:.1f} CPU s, peak {peak:.2f} GB in a process, {written / 1e6:.0f} MB of records"
    )
    if wall > SECONDS or peak > GIGABYTES:
        raise SystemExit(f"too much: at most {SECONDS:.0f} seconds and {GIGABYTES:.0f} GB are accepted.")


if __name__ == "__main__":
    main()
