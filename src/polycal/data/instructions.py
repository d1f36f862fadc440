"""How each instruction data set becomes Conversations, shuffled, sub-sampled and split, in little memory.

Formats: ``alpaca`` (tatsu-lab/alpaca: instruction, input, output), ``messages`` (allenai/tulu-3-sft-mixture,
arazd/tulu_stanford_alpaca, most others: role, content), ``openhermes`` (teknium/OpenHermes-2.5:
conversations of from, value). Rows go through two files on disk, so a million of them need no more memory
than a thousand.
"""

import errno
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from polycal.artifacts import records
from polycal.artifacts.manifests import Stamp
from polycal.artifacts.records import RecordError
from polycal.data import language_id, sources
from polycal.data import readers as rows

BATCH = 1000
GATHER = 4_000
ROLES = ("system", "user", "assistant")
# Names that other data sets use for the three roles.
FROM = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}

Message = dict[str, str]
Messages = list[Message]


class Skip(Exception):
    """A row that cannot be trained on; its message is the reason under which it is counted."""


def fetch_instructions(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> None:
    """Write the Conversations of a data set to ``out``.

    The order is a shuffle by ``settings["seed"]``, from which ``language_mixture`` may choose (see ``mixture``); ``rows`` takes the first so many of it (a smaller sample is
    part of a larger one), and of these the share ``heldout`` goes to the split of that name. The metadata
    counts conversations by source, language and split, and skipped rows by reason. Raises SourceError
    where the set cannot be had, RecordError for missing columns and values of a wrong kind.
    """
    settings = cell["settings"]
    path = sources.data(cell["source"], "data", settings.get("config"))
    split = _split(path, settings.get("config"))
    adapt, columns = FORMATS[settings["format"]]
    counts: dict[str, Counter[str]] = {"skipped": Counter(), "offered": Counter(), "trimmed": Counter()}
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
            adapted = Path(aside) / "adapted.arrow"
            found = _adapted(split, columns, adapt, cell["data"], settings, counts)
            total = _spill(found, adapted)
            if total == 0:
                raise RecordError(f"{split.name}: {_nothing(settings, counts)}")
            order = shuffled(total, settings["seed"])
            if settings.get("language_mixture") in ("english_only", "balanced"):
                spoken = [
                    row["language"] for row in map(_Tally(settings.get("language")).finish, _read(adapted))
                ]
                order = mixture(order, spoken, settings)
            taken = order[: settings.get("rows")]
            heldout = heldout_count(len(taken), settings["heldout"])
            tally = _Tally(settings.get("language"))
            chosen = Path(aside) / "chosen.arrow"
            _spill((tally.finish(row) for row in _gather(adapted, taken, heldout)), chosen)
            metadata = {
                **stamp(),
                "source": dict(cell["source"]),
                "files": sources.checksums(split.files, path),
                "rows": sum(counts["offered"].values()),
                "skipped": dict(counts["skipped"]),
                "trimmed": counts["trimmed"]["conversations"],
                "conversations": len(taken),
                **tally.result(),
            }
            with pa.memory_map(str(chosen)) as source:
                records.write(out, pa.ipc.open_file(source).read_all(), records.CONVERSATION, metadata)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise sources.SourceError(
            f"{out.parent}: the disk is full; {cell['data']} needs about three times its size while it is adapted."
        ) from error


def _split(path: Path, config: str | None) -> rows.Split:
    if path.is_file():
        return rows.read_file(path)
    found = rows.read_repository(path, config)
    if "train" in found:
        return found["train"]
    if len(found) == 1:
        return next(iter(found.values()))
    raise RecordError(f"{path}: split 'train' is missing (found {', '.join(found) or 'none'}).")


def shuffled(total: int, seed: str) -> np.ndarray:
    """A permutation of ``total`` rows, int64 [total], the same for a seed on every machine and release.

    Rows are sorted by the raw output of PCG64, whose stream numpy keeps stable, unlike its shuffles.
    """
    keys = np.random.PCG64(int(Decimal(seed))).random_raw(total)
    return np.argsort(keys, kind="stable")


def mixture(order: np.ndarray, spoken: Sequence[str | None], settings: Mapping[str, Any]) -> np.ndarray:
    """The rows of ``order`` [N] that make a mixture of languages, in that order; ``spoken[row]`` is a row's language.

    ``english_only`` keeps English; ``balanced`` as many rows of each of ``settings["languages"]`` (or of all found):
    ``rows`` in all, the first languages one more where it does not divide, or as many as the rarest has. Raises
    RecordError where a language has too few.
    """
    names = np.array([name or "" for name in spoken], dtype=object)[order]
    if settings["language_mixture"] == "english_only":
        wanted = {"en": settings.get("rows") or int((names == "en").sum()) or 1}
    else:
        chosen = settings.get("languages") or sorted(set(names) - {""})
        rows = settings.get("rows") or len(chosen) * min(int((names == code).sum()) for code in chosen)
        wanted = {code: rows // len(chosen) + (n < rows % len(chosen)) for n, code in enumerate(chosen)}
    kept = np.zeros(len(order), dtype=bool)
    for code, count in wanted.items():
        there = np.flatnonzero(names == code)
        if len(there) < max(count, 1):
            raise RecordError(
                f"language_mixture {settings['language_mixture']!r} asks for {max(count, 1)} rows in {code!r}, but the set holds"
                f" {len(there)}; lower rows or name other languages."
            )
        kept[there[:count]] = True
    return order[kept]


def heldout_count(total: int, share: str) -> int:
    """How many of ``total`` conversations are held out: ``share`` of them, at least one of two or more."""
    if Decimal(share) == 0 or total < 2:
        return 0
    count = int((Decimal(share) * total).to_integral_value(rounding=ROUND_HALF_UP))
    return min(max(count, 1), total - 1)


def _adapted(
    split: rows.Split,
    columns: list[str],
    adapt: Callable[[str, rows.Row], Messages],
    name: str,
    settings: Mapping[str, Any],
    counts: dict[str, Counter[str]],
) -> Iterator[dict[str, Any]]:
    """Conversations in the order of the source, ``language`` as its own tag says; skipped ones counted."""
    wanted = settings.get("sources")
    for where, row in split.numbered(columns):
        source = _source(row, name)
        counts["offered"][source] += 1
        if wanted is not None and source not in wanted:
            counts["skipped"]["other source"] += 1
            continue
        try:
            turns = adapt(where, row)
            messages = _usable(turns)
        except Skip as reason:
            counts["skipped"][str(reason)] += 1
            continue
        if len(messages) < len(turns):
            counts["trimmed"]["conversations"] += 1
        tag = row.get("language") if isinstance(row.get("language"), str) else None
        yield {
            "messages": messages,
            "source": source,
            "language": language_id.from_tag(tag),
            "split": "train",
        }


def _source(row: rows.Row, name: str) -> str:
    """The row's own source; a data set without such a column is its own, an empty cell is ``unknown``."""
    for column in ("source", "dataset"):
        if column in row:
            return str(row[column]) if row[column] not in (None, "") else "unknown"
    return name


def _usable(messages: Messages) -> Messages:
    """Messages up to the last answer, without empty system turns; raises Skip where there is no answer."""
    if not any(message["content"].strip() for message in messages):
        raise Skip("empty conversation")
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        raise Skip("no assistant turn")
    # Nothing after the last answer is a target, and an empty answer would teach the model to stop at once.
    while messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        messages = messages[:-1]
    return [m for m in messages if m["role"] != "system" or m["content"].strip()]


def alpaca(where: str, row: rows.Row) -> Messages:
    """instruction, and input on its own paragraph below where it is filled, as the user; output as the assistant."""
    parts = [_content(row[column], where, column) for column in ("instruction", "input")]
    user = "\n\n".join(part for part in parts if part.strip())
    return [
        {"role": "user", "content": user},
        {"role": "assistant", "content": _content(row["output"], where, "output")},
    ]


def messages(where: str, row: rows.Row) -> Messages:
    """A list of role and content; in csv the list is JSON text."""
    return _turns(where, row["messages"], "messages", "role", "content")


def openhermes(where: str, row: rows.Row) -> Messages:
    """A list of from (system, human, gpt) and value; ``system_prompt`` leads where no system turn does."""
    turns = _turns(where, row["conversations"], "conversations", "from", "value")
    prompt = row.get("system_prompt")
    if isinstance(prompt, str) and prompt.strip() and not any(turn["role"] == "system" for turn in turns):
        return [{"role": "system", "content": prompt}, *turns]
    return turns


FORMATS: dict[str, tuple[Callable[[str, rows.Row], Messages], list[str]]] = {
    "alpaca": (alpaca, ["instruction", "input", "output"]),
    "messages": (messages, ["messages"]),
    "openhermes": (openhermes, ["conversations"]),
}


def _turns(where: str, value: Any, column: str, who: str, what: str) -> Messages:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RecordError(f"{where}: {column} is not a JSON list: {error}.") from error
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecordError(f"{where}: {column} is {type(value).__name__}; must be a list of {who} and {what}.")
    turns = []
    for place, turn in enumerate(value):
        if not isinstance(turn, dict) or who not in turn or what not in turn:
            raise RecordError(f"{where}: {column}[{place}] must have the keys {who!r} and {what!r}.")
        role = FROM.get(str(turn[who]).lower())
        if role is None:
            raise Skip(f"role {turn[who]!r}")
        turns.append({"role": role, "content": _content(turn[what], where, f"{column}[{place}].{what}")})
    return turns


def _content(value: Any, where: str, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(f"{where}: {column} is {value!r} ({type(value).__name__}); must be a text.")
    # Half an emoji, as some scraped sets hold, cannot be written as UTF-8.
    return value.encode("utf-8", "replace").decode()


def _nothing(settings: Mapping[str, Any], counts: dict[str, Counter[str]]) -> str:
    skipped = counts["skipped"]
    if skipped and set(skipped) == {"other source"}:
        known = ", ".join(repr(source) for source, _ in counts["offered"].most_common(40))
        return f"no row comes from {settings['sources']}; the sources are {known}."
    reasons = ", ".join(f"{reason}: {count}" for reason, count in skipped.items()) or "no rows at all"
    return f"no conversation is left ({reasons})."


def _spill(found: Iterator[dict[str, Any]], path: Path) -> int:
    """Write conversations to an Arrow file, a batch at a time; returns how many."""
    total = 0
    batch: list[dict[str, Any]] = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, records.CONVERSATION) as writer:
        for row in found:
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=records.CONVERSATION))
                total, batch = total + len(batch), []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=records.CONVERSATION))
    return total + len(batch)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Conversations of an Arrow file as they stand in it."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield from reader.get_batch(number).to_pylist()


def _gather(path: Path, order: np.ndarray, heldout: int) -> Iterator[dict[str, Any]]:
    """Conversations of an Arrow file in ``order``; the first ``heldout`` of them carry that split.

    Table.take would copy the whole column first, so rows are taken batch by batch and put in order.
    """
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for start in range(0, len(order), GATHER):
            piece = order[start : start + GATHER]
            by_place = np.argsort(piece, kind="stable")
            ascending = piece[by_place]
            parts = []
            for number in np.unique(ascending // BATCH):
                within = ascending[ascending // BATCH == number] - number * BATCH
                parts.append(reader.get_batch(int(number)).take(pa.array(within)))
            back = pa.array(np.argsort(by_place, kind="stable"))
            gathered = pa.Table.from_batches(parts).combine_chunks().take(back)
            place = start
            for batch in gathered.to_batches(max_chunksize=BATCH):
                for row in batch.to_pylist():
                    yield {**row, "split": "heldout" if place < heldout else "train"}
                    place += 1


class _Tally:
    """Gives each conversation its language and counts what there is."""

    def __init__(self, language: str | None) -> None:
        self.declared = language
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.confidence: defaultdict[str, float] = defaultdict(float)

    def finish(self, row: dict[str, Any]) -> dict[str, Any]:
        language: str | None
        if self.declared is not None:
            language, how = self.declared, "declared"
        elif row["language"] is not None:
            language, how = row["language"], "tagged"
        else:
            texts = [m["content"] for m in row["messages"] if m["role"] != "system"]
            language, share = language_id.identify(texts)
            how = "identified" if language is not None else "unknown"
            if language is not None:
                self.confidence[language] += share
                self.counts["identified"][language] += 1
        self.counts["source"][row["source"]] += 1
        self.counts["language"][language or "unknown"] += 1
        self.counts["split"][row["split"]] += 1
        self.counts["how"][how] += 1
        return {**row, "language": language}

    def result(self) -> dict[str, Any]:
        identified = {
            language: {"count": count, "confidence": round(self.confidence[language] / count, 4)}
            for language, count in self.counts["identified"].most_common()
        }
        return {
            "by_source": dict(self.counts["source"].most_common()),
            "by_language": dict(self.counts["language"].most_common()),
            "by_split": dict(self.counts["split"]),
            "language_from": dict(self.counts["how"]),
            "identifier": language_id.identifier() if self.declared is None else None,
            "identified": identified,
        }
