"""Select and order the conversations of a data set: shuffle, mixture of languages, held-out share."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polycal.artifacts.records import RecordError
from polycal.data import language_tags


def shuffled(total: int, seed: str) -> NDArray[np.int64]:
    """A random permutation of ``total`` row numbers, int64 [total].

    It depends only on ``total`` and ``seed``, not on the machine or the version of NumPy. Rows are sorted by
    the raw output of PCG64, because NumPy guarantees this stream but not the results of its shuffles.
    """
    keys = np.random.PCG64(int(Decimal(seed))).random_raw(total)
    return np.argsort(keys, kind="stable")


def mixture(
    order: NDArray[np.int64], languages: Sequence[str | None], settings: Mapping[str, Any]
) -> NDArray[np.int64]:
    """The rows of ``order`` [N] that belong to the mixture ``settings["language_mixture"]``, in the same order.

    ``languages`` [N] contains the language of each row number. ``english_only`` selects ``settings["rows"]``
    English rows, or all if ``rows`` is None. ``balanced`` selects equally many rows of each of
    ``settings["languages"]`` (tags; default: all languages in the data set). In total these are ``rows``,
    where the first languages get one row more if ``rows`` is not divisible. If ``rows`` is None, each
    language gets as many rows as the rarest one has. Raises RecordError if a language has too few rows.
    """
    mixture_name, total = settings["language_mixture"], settings.get("rows")
    in_order = np.array([language or "" for language in languages], dtype=object)[order]
    if mixture_name == "english_only":
        count_of = {"en": total or int((in_order == "en").sum()) or 1}
    else:
        codes = _codes(settings.get("languages") or []) or sorted(set(in_order) - {""})
        if not codes:
            raise RecordError(
                f"language_mixture {mixture_name!r} needs rows whose language is known, but the data set has none."
            )
        total = total or len(codes) * min(int((in_order == code).sum()) for code in codes)
        count_of = {
            code: total // len(codes) + (number < total % len(codes)) for number, code in enumerate(codes)
        }
    is_chosen = np.zeros(len(order), dtype=bool)
    for code, count in count_of.items():
        available = np.flatnonzero(in_order == code)
        if len(available) < max(count, 1):
            raise RecordError(
                f"language_mixture {mixture_name!r} needs {max(count, 1)} rows in {code!r}, but the data set"
                f" contains {len(available)}; lower rows or name other languages."
            )
        is_chosen[available[:count]] = True
    return order[is_chosen]


def _codes(tags: Sequence[str]) -> list[str]:
    """The language codes of the tags in a configuration. Raises RecordError if two tags name one language."""
    codes = [language_tags.language_code(tag) or tag for tag in tags]
    if repeated := [tag for tag, code in zip(tags, codes, strict=True) if codes.count(code) > 1]:
        raise RecordError(
            f"languages of the mixture: {', '.join(map(repr, repeated))} are one language; name it once."
        )
    return codes


def heldout_count(total: int, share: str) -> int:
    """The number of held-out conversations among ``total``.

    It is ``share`` · ``total``, rounded, but at least 1 and at most ``total`` − 1. It is 0 if ``share`` is 0
    or there are fewer than two conversations.
    """
    if Decimal(share) == 0 or total < 2:
        return 0
    count = int((Decimal(share) * total).to_integral_value(rounding=ROUND_HALF_UP))
    return min(max(count, 1), total - 1)
