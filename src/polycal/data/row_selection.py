"""Which conversations of a data set are used, in which order: shuffle, mixture of languages, held-out
share."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polycal.artifacts.records import RecordError
from polycal.data import language_tags


def shuffled(total: int, seed: str) -> NDArray[np.int64]:
    """A permutation of ``total`` rows, int64 [total], the same for a seed on every machine and release.

    Rows are sorted by the raw output of PCG64. NumPy guarantees its stream, but not that of its shuffles.
    """
    keys = np.random.PCG64(int(Decimal(seed))).random_raw(total)
    return np.argsort(keys, kind="stable")


def mixture(
    order: NDArray[np.int64], languages: Sequence[str | None], settings: Mapping[str, Any]
) -> NDArray[np.int64]:
    """The rows of ``order`` [N] that make the mixture ``settings["language_mixture"]``, in the same order.

    ``languages`` gives the language of each row. ``english_only`` takes English rows. ``balanced`` takes
    equally many rows of each of ``settings["languages"]`` (tags; default: all that occur): ``rows`` in all, where
    the first languages get one more if it does not divide, or as many as the rarest language has. Raises
    RecordError if a language has too few.
    """
    mixture_name, total = settings["language_mixture"], settings.get("rows")
    in_order = np.array([language or "" for language in languages], dtype=object)[order]
    if mixture_name == "english_only":
        wanted = {"en": total or int((in_order == "en").sum()) or 1}
    else:
        chosen = _codes(settings.get("languages") or []) or sorted(set(in_order) - {""})
        if not chosen:
            raise RecordError(
                f"language_mixture {mixture_name!r} needs rows whose language is known, but the set has none."
            )
        total = total or len(chosen) * min(int((in_order == code).sum()) for code in chosen)
        wanted = {
            code: total // len(chosen) + (number < total % len(chosen)) for number, code in enumerate(chosen)
        }
    is_chosen = np.zeros(len(order), dtype=bool)
    for code, count in wanted.items():
        available = np.flatnonzero(in_order == code)
        if len(available) < max(count, 1):
            raise RecordError(
                f"language_mixture {mixture_name!r} asks for {max(count, 1)} rows in {code!r}, but the set"
                f" holds {len(available)}; lower rows or name other languages."
            )
        is_chosen[available[:count]] = True
    return order[is_chosen]


def _codes(tags: Sequence[str]) -> list[str]:
    """The codes of languages that a study names. Raises RecordError if two tags name one language."""
    codes = [language_tags.language_code(tag) or tag for tag in tags]
    if repeated := [tag for tag, code in zip(tags, codes, strict=True) if codes.count(code) > 1]:
        raise RecordError(
            f"languages of the mixture: {', '.join(map(repr, repeated))} are one language; name it once."
        )
    return codes


def heldout_count(total: int, share: str) -> int:
    """How many of ``total`` conversations are held out: ``share`` of them, rounded, and at least one.

    At least one is left for training. None is held out if ``share`` is 0 or there are fewer than two
    conversations.
    """
    if Decimal(share) == 0 or total < 2:
        return 0
    count = int((Decimal(share) * total).to_integral_value(rounding=ROUND_HALF_UP))
    return min(max(count, 1), total - 1)
