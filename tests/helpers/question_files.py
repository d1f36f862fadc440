"""Files of questions in the formats that a user may write."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

QUESTIONS: list[dict[str, Any]] = [
    {"question_id": "1", "question": "2 + 2?", "options": ["4", "5"], "gold": 0},
    {"question_id": "2", "question": "2 + 3?", "options": ["4", "5", "6"], "gold": 1, "group": "sums"},
    {"question_id": "1", "question": "1 + 1?", "options": ["2", "3"], "answer": "A", "split": "examples"},
]


def write_questions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows in the format of the suffix of ``path``: .parquet, .csv, .jsonl, or else JSON."""
    if path.suffix == ".parquet":
        names = list(dict.fromkeys(key for row in rows for key in row))
        pq.write_table(pa.Table.from_pylist([{n: row.get(n) for n in names} for row in rows]), path)
    elif path.suffix == ".csv":
        names = list(dict.fromkeys(key for row in rows for key in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows([{**row, "options": json.dumps(row["options"])} for row in rows])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
