"""Instruction data sets as records of conversations: converted, shuffled, sampled and split.

The conversations are written to two temporary files (``arrow_spill``), so that they need little memory.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from polycal.artifacts import files, records
from polycal.artifacts.manifests import Stamp
from polycal.artifacts.records import RecordError
from polycal.data import (
    arrow_spill,
    language_tags,
    readers,
    repositories,
    row_selection,
    sources,
    text_content,
)
from polycal.data.conversation_formats import FORMATS, SkippedRow, trimmed
from polycal.data.hub import SourceError
from polycal.data.language_counts import UNKNOWN_TAG, LanguageCounts
from polycal.data.readers import DatasetSplit, Row

MAX_TAGS = 50
"""How many of the tags that name no language are listed in the metadata."""
MAX_TAG_CHARACTERS = 40
"""How many characters of such a tag are listed."""


def fetch_instructions(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> None:
    """Write the conversations of a data set to ``out``.

    The steps, with their settings, are:

    1. Convert the rows by ``format`` (``conversation_formats``), only those of ``sources`` if given.
    2. Shuffle the conversations with ``seed``.
    3. Select the ``language_mixture`` (``row_selection.mixture``).
    4. Take the first ``rows`` conversations, so that a smaller sample is part of a larger one.
    5. Give the share ``heldout`` of these the split heldout.

    ``config`` is the configuration of the data set, and ``language`` the language of all its rows.

    The metadata contains the number of conversations by source, language and split, of skipped rows by
    reason, of tags that name no language, of answers without text, and of conversations that the mixture or
    ``rows`` exclude. Raises SourceError if the data set cannot be obtained or the disk is full, and
    RecordError for missing columns and for values of a wrong type.
    """
    settings = cell["settings"]
    path = sources.data_path(cell["source"], settings.get("config"))
    split = _training_split(path, settings.get("config"))
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            chosen = Path(folder) / "chosen.arrow"
            facts = _write_chosen(split, cell, Path(folder) / "adapted.arrow", chosen)
            origin = {"source": dict(cell["source"]), "files": sources.checksums(split.files, path)}
            metadata = {**stamp(), **origin, **facts}
            with pa.memory_map(str(chosen)) as source:
                records.write(out, pa.ipc.open_file(source).read_all(), records.CONVERSATION, metadata)
    except OSError as error:
        if not files.is_disk_full(error):
            raise
        raise SourceError(
            f"{out.parent}: the disk is full; free about three times the size of {cell['data']} for the"
            " conversion."
        ) from error


def _training_split(path: Path, config: str | None) -> DatasetSplit:
    """The split ``train`` of a repository or its only split, or the rows of a file."""
    if path.is_file():
        return readers.read_file(path)
    splits = repositories.read_repository(path, config)
    if "train" in splits:
        return splits["train"]
    if len(splits) == 1:
        return next(iter(splits.values()))
    raise RecordError(f"{path}: split 'train' is missing (found {', '.join(splits) or 'none'}).")


def _write_chosen(
    split: DatasetSplit, cell: Mapping[str, Any], adapted: Path, chosen: Path
) -> dict[str, Any]:
    """Write all usable conversations to ``adapted`` and the selected ones to ``chosen``, and return the counts."""
    settings = cell["settings"]
    counts = _RowCounts()
    total = arrow_spill.write(_adapted(split, cell["data"], settings, counts), adapted)
    if total == 0:
        raise RecordError(f"{split.name}: {_why_nothing_is_left(settings, counts)}")
    order = row_selection.shuffled(total, settings["seed"])
    if settings.get("language_mixture") in ("english_only", "balanced"):
        with_language = map(LanguageCounts(settings.get("language")).with_language, arrow_spill.read(adapted))
        order = row_selection.mixture(order, [row["language"] for row in with_language], settings)
    selected = order[: settings.get("rows")]
    left_out = {"language_mixture": total - len(order), "rows": len(order) - len(selected)}
    heldout = row_selection.heldout_count(len(selected), settings["heldout"])
    languages = LanguageCounts(settings.get("language"))
    arrow_spill.write(map(languages.with_language, arrow_spill.gather(adapted, selected, heldout)), chosen)
    return {
        "rows": sum(counts.by_source.values()),
        "skipped": dict(counts.skipped),
        "trimmed": counts.trimmed,
        "empty_answers": counts.empty_answers,
        "unknown_tags": dict(counts.unknown_tags.most_common(MAX_TAGS)),
        "left_out": left_out,
        "conversations": len(selected),
        **languages.metadata(),
    }


@dataclass
class _RowCounts:
    """Counts of the rows of a data set.

    ``by_source`` counts all rows, ``skipped`` the skipped rows by reason, and ``unknown_tags`` the tags that
    name no language. ``trimmed`` counts the rows that lost turns after the last answer or empty system turns.
    ``empty_answers`` counts the answers without text in rows that are used.
    """

    by_source: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    unknown_tags: Counter[str] = field(default_factory=Counter)
    trimmed: int = 0
    empty_answers: int = 0

    def language(self, tag: Any) -> str | None:
        """The language of a row's tag.

        None if the row has no tag; UNKNOWN_TAG, counted, if it names no language.
        """
        text = "" if tag is None else str(tag).strip()
        if not text:
            return None
        code = language_tags.language_code(text) if isinstance(tag, str) else None
        if code is None:
            self.unknown_tags[text[:MAX_TAG_CHARACTERS]] += 1
        return UNKNOWN_TAG if code is None else code


def _adapted(
    split: DatasetSplit, name: str, settings: Mapping[str, Any], counts: _RowCounts
) -> Iterator[dict[str, Any]]:
    """Conversations in the order of the rows. Rows are counted in ``counts``.

    ``language`` is that of the row's tag, or None.
    """
    used_sources = settings.get("sources")
    to_messages, columns = FORMATS[settings["format"]]
    for where, row in split.numbered(columns):
        source = _row_source(row, name)
        counts.by_source[source] += 1
        if used_sources is not None and source not in used_sources:
            counts.skipped["other source"] += 1
            continue
        try:
            turns = to_messages(where, row)
            messages = trimmed(turns)
        except SkippedRow as reason:
            counts.skipped[str(reason)] += 1
            continue
        counts.trimmed += len(messages) < len(turns)
        counts.empty_answers += sum(
            turn["role"] == "assistant" and text_content.is_blank(turn["content"]) for turn in messages
        )
        language = counts.language(row.get("language"))
        yield {"messages": messages, "source": source, "language": language, "split": "train"}


def _row_source(row: Row, name: str) -> str:
    """The column ``source`` or ``dataset`` (``unknown`` if empty); without either, the ``name`` of the data set."""
    for column in ("source", "dataset"):
        if column in row:
            return text_content.as_unicode(str(row[column])) if row[column] not in (None, "") else "unknown"
    return name


def _why_nothing_is_left(settings: Mapping[str, Any], counts: _RowCounts) -> str:
    """The part of an error message that says why no row was used."""
    if counts.skipped and set(counts.skipped) == {"other source"}:
        known = ", ".join(repr(source) for source, _ in counts.by_source.most_common(40))
        return f"no row comes from {settings['sources']}; the sources are {known}."
    reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.skipped.items()) or "no rows at all"
    return f"no conversation is left ({reasons})."
