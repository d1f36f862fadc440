"""Rows of MKQA (``polycal.data.open_formats``) as on the hub: one per question, with the texts of all languages."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ANSWER = pa.struct(
    [
        ("type", pa.int64()),
        ("entity", pa.string()),
        ("text", pa.string()),
        ("aliases", pa.list_(pa.string())),
    ]
)
TYPES = {"entity": 0, "long_answer": 1, "unanswerable": 2, "date": 3, "number": 4, "binary": 7}
LANGUAGES = ("en", "de", "zh_cn")


def row(number: int, kind: str, texts: dict[str, list[str]]) -> dict[str, Any]:
    """A row. ``texts`` contains the text of the answer in each language, and its aliases."""
    return {
        "example_id": str(number),
        "queries": {name: f"{name} {number}?" for name in LANGUAGES},
        "query": f"en {number}?",
        "answers": {
            name: [{"type": TYPES[kind], "entity": "", "text": found[0], "aliases": found[1:]}]
            if (found := texts.get(name))
            else [{"type": TYPES[kind], "entity": "", "text": "", "aliases": []}]
            for name in LANGUAGES
        },
    }


def rows() -> list[dict[str, Any]]:
    """Questions about entities and numbers, one without an answer, one without a short one, one not in German."""
    entities = [
        row(n, "entity", {"en": [f"Name {n}"], "de": [f"Name {n}"], "zh_cn": ["名"]}) for n in range(8)
    ]
    numbers = [row(n, "number", {name: [f"{n}.0", str(n)] for name in LANGUAGES}) for n in range(100, 107)]
    return [
        *entities, *numbers, row(200, "unanswerable", {}), row(201, "long_answer", {}),
        row(202, "entity", {"en": ["Paris"], "zh_cn": ["巴黎", " 巴黎市 "]}),
    ]  # fmt: skip


def write(folder: Path) -> Path:
    """The repository with these rows in the layout of the hub's converted branch, below ``folder``."""
    path = folder / "mkqa/train/0000.parquet"
    path.parent.mkdir(parents=True)
    by_language = pa.struct([(name, pa.list_(ANSWER)) for name in LANGUAGES])
    schema = pa.schema(
        [
            ("example_id", pa.string()),
            ("queries", pa.struct([(name, pa.string()) for name in LANGUAGES])),
            ("query", pa.string()),
            ("answers", by_language),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows(), schema=schema), path)
    return folder
