"""The records that stages exchange: conversations, questions, scores, embeddings and next-token scores.

Each record is a Parquet file with a fixed schema. Writing is atomic. Reading checks what later stages rely
on. The metadata of the file contains one JSON object under the key ``polycal``: the manifest of the stage
that wrote it, and ``content``, the checksum of the rows.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts import files
from polycal.errors import PolycalError

CONVERSATION = pa.schema(
    [
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("source", pa.string()),
        ("language", pa.string()),
        ("split", pa.string()),
    ]
)
"""A row is one conversation.

Its roles are system, user and assistant, its split is train or heldout, and its language is null if unknown.
"""
QUESTION = pa.schema(
    [
        ("question_id", pa.string()),
        ("group", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("gold", pa.int32()),
        ("split", pa.string()),
    ]
)
"""A row is one question. ``gold`` is the index of the right option.

The split is test, or examples for the questions of few-shot prompts.
"""
SCORE = pa.schema(
    [
        ("question_id", pa.string()),
        ("group", pa.string()),
        ("gold", pa.int32()),
        ("option_logprob", pa.list_(pa.float32())),
        ("option_tokens", pa.list_(pa.int32())),
        ("option_bytes", pa.list_(pa.int32())),
        ("prompt_sha256", pa.string()),
    ]
)
"""A row is one question.

The lists contain one value per option: its log-likelihood in nats, and its length in tokens and in bytes.
"""
EMBEDDING = pa.schema([("question_id", pa.string()), ("embedding", pa.list_(pa.float32()))])
"""A row is the embedding of one question's prompt."""
TOKEN_SCORE = pa.schema(
    [
        ("conversation", pa.int32()),
        ("language", pa.string()),
        ("position", pa.int32()),
        ("logprob", pa.float32()),
        ("top_logprob", pa.float32()),
        ("correct", pa.bool_()),
        ("entropy", pa.float32()),
        ("sum_squared_prob", pa.float32()),
    ]
)
"""A row is one target token of a conversation.

``logprob`` and ``top_logprob`` are the log-probabilities of the token and of the most likely token, in nats.
``entropy`` is that of the predicted distribution, in nats. ``sum_squared_prob`` is Σ p² over the vocabulary.
"""
UNCONDITIONAL = "option_logprob_unconditional"
"""Log-likelihoods of the options after a neutral context, in nats, for PMI scoring."""
OPTIONAL = {UNCONDITIONAL: pa.list_(pa.float32())}
"""Columns that may follow those of a schema."""


class RecordError(PolycalError):
    """A record or data file has wrong content."""


def write(
    path: str | os.PathLike[str],
    rows: pa.Table | Iterable[Mapping[str, Any]],
    schema: pa.Schema,
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """Write ``rows`` to ``path`` atomically, and return the checksum of the rows.

    ``schema`` is CONVERSATION, QUESTION, SCORE (columns of OPTIONAL may follow), EMBEDDING or TOKEN_SCORE.
    Equal rows and metadata give equal bytes.
    """
    path = Path(path)
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
    table = table.cast(schema)
    content = checksum(table)
    manifest = json.dumps({**(metadata or {}), "content": content}, sort_keys=True)
    table = table.replace_schema_metadata({b"polycal": manifest.encode()})
    with files.replacing(path) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)
    return content


def checksum(table: pa.Table) -> str:
    """sha256 over the rows as JSON lines. Row groups, compression and library versions do not change it."""
    digest = hashlib.sha256()
    for batch in table.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
            digest.update(b"\n")
    return digest.hexdigest()


def content(path: str | os.PathLike[str]) -> str:
    """The checksum of a file's rows, computed from the rows and not read from the metadata.

    Raises RecordError if the file is missing or truncated.
    """
    with _read_errors(path):
        return checksum(_pages(path))


def is_record(path: str | os.PathLike[str]) -> bool:
    """Whether the file exists and its Parquet metadata shows that polycal wrote it."""
    try:
        return b"polycal" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowInvalid, OSError):
        return False


def metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a record, with ``content``. Only the footer of the file is read.

    Raises RecordError if the file is missing, truncated or not written by polycal.
    """
    with _read_errors(path):
        manifest = (pq.read_schema(path).metadata or {}).get(b"polycal")
    if manifest is None:
        raise RecordError(
            f"{path}: not written by polycal (no 'polycal' key in its metadata); a record of polycal is needed."
        )
    try:
        entries = json.loads(manifest)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{path}: its metadata under 'polycal' is not valid JSON; make the record again."
        ) from error
    if not isinstance(entries, dict) or "content" not in entries:
        raise RecordError(
            f"{path}: its metadata under 'polycal' is not a manifest of polycal; make the record again."
        )
    return entries


@contextlib.contextmanager
def _read_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the errors of reading a Parquet file into RecordError."""
    try:
        yield
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such file.") from error
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        if "checksum" in str(error):
            raise RecordError(
                f"{path}: altered since it was written, a page does not have its checksum; remove it and start"
                " again, it is made anew."
            ) from error
        raise RecordError(
            f"{path}: truncated or not a Parquet file; a record of polycal is needed, which the stage"
            " before this one writes."
        ) from error


def whole(path: str | os.PathLike[str]) -> pa.Table:
    """All columns of a file, whatever they are. Raises RecordError if it is missing, truncated or altered."""
    with _read_errors(path):
        return _pages(path)


def _pages(path: str | os.PathLike[str]) -> pa.Table:
    """All columns of a file, each page compared with its checksum."""
    # ParquetFile reads this file only; read_table would add columns from folder names such as beta=0.1.
    return pq.ParquetFile(path, page_checksum_verification=True).read()


def column_names(path: str | os.PathLike[str]) -> list[str]:
    """The columns of a file. Only its footer is read. Raises RecordError if it is missing or truncated."""
    with _read_errors(path):
        return list(pq.read_schema(path).names)


def read_columns(path: str | os.PathLike[str], schema: pa.Schema, kind: str) -> pa.Table:
    """The columns of ``schema`` and, if present, those of OPTIONAL, in the types of the schema.

    ``kind`` is what messages call the record. Raises RecordError if the file is missing or truncated, and if a
    column is missing or cannot be converted.
    """
    table = whole(path)
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise RecordError(
            f"{path}: not a {kind} record: column {missing[0]!r} is missing"
            f" (found {', '.join(table.column_names)})."
        )
    extra = [name for name in table.column_names if name in OPTIONAL]
    full_schema = pa.schema(list(schema) + [pa.field(name, OPTIONAL[name]) for name in extra])
    try:
        return table.select(full_schema.names).cast(full_schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise RecordError(f"{path}: a column has the wrong type: {error}") from error


def read_conversations(path: str | os.PathLike[str], split: str | None = None) -> pa.Table:
    """The conversations of a file, all or those of ``split`` (train or heldout), in the schema CONVERSATION.

    Raises RecordError if the file is missing, truncated or of another schema.
    """
    table = read_columns(path, CONVERSATION, "conversation")
    return table if split is None else table.filter(pa.compute.equal(table["split"], split))


def read_questions(path: str | os.PathLike[str], split: str | None = None) -> list[dict[str, Any]]:
    """The questions of a file, all or those of ``split`` (test or examples), with the columns of QUESTION.

    Raises RecordError if the file is missing, truncated or of another schema, and as ``check_questions``.
    """
    rows = read_columns(path, QUESTION, "question").to_pylist()
    check_questions(rows, path)
    return [row for row in rows if split is None or row["split"] == split]


def check_options(row: Mapping[str, Any], where: str) -> None:
    """Raise RecordError if a question has fewer than two options or an empty one, or if ``gold`` is no index of one."""
    options = row["options"] or []
    if len(options) < 2:
        raise RecordError(f"{where}: {len(options)} option(s); a question needs at least two.")
    for index, option in enumerate(options):
        if option is None or not option.strip():
            raise RecordError(f"{where}: option {index} is empty; every option needs a text.")
    if row["gold"] is None or not 0 <= row["gold"] < len(options):
        raise RecordError(f"{where}: gold is {row['gold']}, but must be 0 to {len(options) - 1}.")


def check_questions(
    rows: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    check_answers: Callable[[Mapping[str, Any], str], None] = check_options,
) -> None:
    """Check the answers, split and id of each question.

    ``check_answers`` checks the options or accepted answers of a row; it gets the row and the beginning of the
    message. The split must be test or examples, and ids must be unique within a split. Raises RecordError for the
    first row that breaks a rule; the message contains ``path``.
    """
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(rows):
        where = f"{path}: row {number} (question_id {row['question_id']!r})"
        check_answers(row, where)
        if row["split"] not in ("test", "examples"):
            raise RecordError(f"{where}: split is {row['split']!r}, but must be 'test' or 'examples'.")
        if (row["split"], row["question_id"]) in seen:
            raise RecordError(f"{where}: this id occurs twice in split {row['split']!r}; ids must be unique.")
        seen.add((row["split"], row["question_id"]))


def read_scores(path: str | os.PathLike[str]) -> pa.Table:
    """The scores of a file, with the columns of SCORE and possibly of OPTIONAL.

    Only ``group``, ``prompt_sha256`` and ``option_tokens`` may be null. ``option_tokens`` is null if another
    tool made the scores and did not report it. Raises RecordError if the file is missing, truncated or of
    another schema, if another value is null or a number is not finite, if the lists of a row differ in
    length, and if ``gold`` is not the index of an option.
    """
    table = read_columns(path, SCORE, "score")
    lists = ["option_logprob", "option_tokens", "option_bytes"]
    if UNCONDITIONAL in table.column_names:
        lists.append(UNCONDITIONAL)
    for name in ("question_id", "gold", *lists):
        if name != "option_tokens" and table[name].null_count:
            row = table[name].is_null().to_pylist().index(True)
            raise RecordError(f"{path}: row {row}: {name} is empty; every question needs it.")
    lengths = pa.compute.list_value_length(table["option_logprob"])
    for name in lists:
        values = pa.compute.list_flatten(table[name])
        if values.null_count:
            raise RecordError(f"{path}: a value of {name} is empty; every option needs one.")
        if not all_finite(values):
            raise RecordError(
                f"{path}: a value of {name} is not finite; every value must be a finite number."
            )
        differs = pa.compute.not_equal(lengths, pa.compute.list_value_length(table[name])).to_pylist()
        if True in differs:
            raise RecordError(
                f"{path}: row {differs.index(True)}: {name} and option_logprob differ in length; both need one value"
                " per option."
            )
    in_range = pa.compute.and_(
        pa.compute.greater_equal(table["gold"], 0), pa.compute.less(table["gold"], lengths)
    ).to_pylist()
    if False in in_range:
        raise RecordError(
            f"{path}: row {in_range.index(False)}: gold is outside the options; it must be the index of an option."
        )
    return table


def read_embeddings(path: str | os.PathLike[str]) -> pa.Table:
    """The embeddings of a file, in the schema EMBEDDING.

    Raises RecordError if the file is missing, truncated or of another schema, if it contains no embedding,
    and if the embeddings differ in length or are not finite.
    """
    table = read_columns(path, EMBEDDING, "embedding")
    if not table.num_rows:
        raise RecordError(f"{path}: contains no embedding; at least one is needed.")
    if len(pa.compute.unique(pa.compute.list_value_length(table["embedding"]))) > 1:
        raise RecordError(f"{path}: embeddings differ in length; all must come from one model.")
    _check_finite(path, pa.compute.list_flatten(table["embedding"]), "embedding")
    return table


def read_tokens(path: str | os.PathLike[str]) -> pa.Table:
    """The next-token scores of a file, in the schema TOKEN_SCORE.

    Raises RecordError if the file is missing, truncated or of another schema, if it contains no token, and if
    a score is missing or not finite.
    """
    table = read_columns(path, TOKEN_SCORE, "next-token")
    if not table.num_rows:
        raise RecordError(f"{path}: contains no token; at least one is needed.")
    for name in ("logprob", "top_logprob", "entropy", "sum_squared_prob"):
        _check_finite(path, table[name], name)
    return table


def all_finite(values: pa.ChunkedArray) -> bool:
    """Whether no value is NaN or infinite. Nulls do not count."""
    return bool(pa.compute.all(pa.compute.is_finite(values), min_count=0).as_py())


def _check_finite(path: str | os.PathLike[str], values: pa.ChunkedArray, name: str) -> None:
    """Raise RecordError if a value is null, NaN or infinite."""
    if values.null_count or not all_finite(values):
        raise RecordError(f"{path}: a value of {name} is missing or not finite; the model overflowed.")
