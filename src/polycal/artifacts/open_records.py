"""Records of questions without options: the questions with their accepted answers, and what a model generated.

They are Parquet files like those of ``records``, which writes them.
"""

import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from polycal.artifacts import records
from polycal.artifacts.records import RecordError

OPEN_QUESTION = pa.schema(
    [
        ("question_id", pa.string()),
        ("group", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("split", pa.string()),
    ]
)
"""A row is one question. ``answers`` are the accepted answers; the first one is shown in few-shot prompts.

The split is test, or examples for the questions of few-shot prompts.
"""
GENERATION = pa.schema(
    [
        ("question_id", pa.string()),
        ("group", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("greedy", pa.string()),
        ("greedy_logprob", pa.float32()),
        ("greedy_tokens", pa.int32()),
        ("greedy_cut", pa.bool_()),
        ("near_ties", pa.int32()),
        ("samples", pa.list_(pa.string())),
        ("sample_logprob", pa.list_(pa.float32())),
        ("sample_tokens", pa.list_(pa.int32())),
        ("sample_cut", pa.list_(pa.bool_())),
        ("p_true", pa.float32()),
        ("p_true_spread", pa.float32()),
        ("prompt_sha256", pa.string()),
    ]
)
"""A row is one question.

``greedy`` is the answer of most likely tokens, ``samples`` are sampled ones. An answer has its log-likelihood in
nats at temperature 1, summed over its tokens, the number of these tokens, and whether it was cut by the length.
``near_ties`` is the number of tokens of the greedy answer for which another token was nearly as likely.
``p_true`` is P(True) of the greedy answer, and ``p_true_spread`` how much the order of true and false changes it.
"""
LISTS = ("samples", "sample_logprob", "sample_tokens", "sample_cut")


def read_questions(path: str | os.PathLike[str], split: str | None = None) -> list[dict[str, Any]]:
    """The questions of a file, all or those of ``split`` (test or examples), with the columns of OPEN_QUESTION.

    Raises RecordError if the file is missing, truncated or of another schema, if a question has no accepted answer
    or an empty one, and as ``records.check_questions``.
    """
    rows = records.read_columns(path, OPEN_QUESTION, "question without options").to_pylist()
    records.check_questions(rows, path, _check_answers)
    return [row for row in rows if split is None or row["split"] == split]


def _check_answers(row: Mapping[str, Any], where: str) -> None:
    """Raise RecordError if a question has no accepted answer or an empty one."""
    answers = row["answers"] or []
    if not answers or any(answer is None or not answer.strip() for answer in answers):
        raise RecordError(f"{where}: an accepted answer is missing or empty; every question needs one.")


def has_options(path: str | os.PathLike[str]) -> bool:
    """Whether the questions of a file have options. Raises RecordError if the file is missing or truncated."""
    return "options" in records.column_names(path)


def read_generations(path: str | os.PathLike[str]) -> pa.Table:
    """The generations of a file, in the schema GENERATION.

    Raises RecordError if the file is missing, truncated or of another schema, if it contains no question, if a
    value other than group and prompt_sha256 is missing or not finite, and if questions differ in the number of
    samples.
    """
    table = records.read_columns(path, GENERATION, "generation")
    if not table.num_rows:
        raise RecordError(f"{path}: contains no question; at least one is needed.")
    for name in GENERATION.names:
        column = table[name]
        values = pa.compute.list_flatten(column) if name in LISTS else column
        broken = pa.types.is_floating(values.type) and not records.all_finite(values)
        if name not in ("group", "prompt_sha256") and (column.null_count or values.null_count or broken):
            raise RecordError(
                f"{path}: a value of {name} is missing or not finite; every question needs one."
            )
        if name in LISTS and len(pa.compute.unique(pa.compute.list_value_length(column))) > 1:
            raise RecordError(f"{path}: questions differ in the number of {name}; all need equally many.")
    return table
