"""What the name of a harness's task says: its benchmark, language and subject.

Tasks of lm-evaluation-harness are FAMILY_TAG or FAMILY_TAG_SUBJECT, and FAMILIES lists the families. Tasks of
lighteval are FAMILY_TAG_FORM or FAMILY_TAG_FORM:SUBJECT, where FORM says how the options are asked.
"""

import re
from typing import NamedTuple

import langcodes

from polycal.data import language_tags


class Family(NamedTuple):
    """Tasks of one benchmark; ``has_subjects`` says whether the name ends in a subject."""

    benchmark: str
    has_subjects: bool = False


FAMILIES = {
    "afrimmlu_direct": Family("afrimmlu"),
    "afrixnli": Family("afrixnli"),
    "arc": Family("arc"),
    "arc_challenge_mt": Family("arc-challenge-mt"),
    "belebele": Family("belebele"),
    "global_mmlu": Family("global-mmlu-lite", has_subjects=True),
    "global_mmlu_full": Family("global-mmlu", has_subjects=True),
    "hellaswag": Family("hellaswag"),
    "include_base_44": Family("include-base-44", has_subjects=True),
    "m_mmlu": Family("m-mmlu"),
    "mmlu_prox": Family("mmlu-prox", has_subjects=True),
    "mmlu_prox_lite": Family("mmlu-prox-lite", has_subjects=True),
    "paws": Family("paws"),
    "truthfulqa": Family("truthfulqa"),
    "xcopa": Family("xcopa"),
    "xnli": Family("xnli"),
    "xstorycloze": Family("xstorycloze"),
    "xwinograd": Family("xwinograd"),
}
"""Families of lm-evaluation-harness by the beginning of their names."""
ENGLISH = {
    "arc_challenge", "arc_easy", "commonsense_qa", "hellaswag", "openbookqa", "piqa", "sciq", "truthfulqa_mc1",
}  # fmt: skip
"""Tasks whose names say no language because there is one only."""
FORMS = {"mcf": "", "cf": "", "hybrid": "-hybrid"}
"""lighteval's forms with the ending of the benchmark's name; the options show whether letters or texts are asked."""
FULL = {"global_mmlu_all": "global-mmlu"}
"""Names of lighteval's families that differ from the benchmark's."""
VARIANT = re.compile(
    r"(few_shot_en|few_shot_og|prompt_\d+|mc1|mc2|easy|challenge|mt|native|spanish_bench)(?:_|$)"
)
"""A way of asking or a part of a benchmark, which becomes part of the benchmark's name."""
PARTS_OF_SCRIPTS = {"Hang": "Kore"}
"""Scripts that are used alone or as part of a language's usual script."""


class TaskName(NamedTuple):
    """Benchmark, language (a BCP 47 tag) and subject, None where the task is not divided."""

    benchmark: str
    language: str
    subject: str | None = None


def recognise(task: str) -> TaskName | None:
    """What the name of a task says; None for a name that is not known."""
    if task in ENGLISH:
        return TaskName(task.replace("_", "-"), "en")
    return _with_form(task) or _of_family(task)


def _with_form(task: str) -> TaskName | None:
    """The name of a task of lighteval: the tag of the language is before the form."""
    match = re.fullmatch(rf"(.+)_({'|'.join(FORMS)})(?::(.+))?", task)
    if match is None:
        return None
    pieces = match[1].split("_")
    for count in (2, 1):
        language = language_of("_".join(pieces[-count:])) if len(pieces) > count else None
        if language:
            family = "_".join(pieces[:-count])
            benchmark = FULL.get(family, family.replace("_", "-")) + FORMS[match[2]]
            return TaskName(benchmark, language, match[3])
    return None


def _of_family(task: str) -> TaskName | None:
    """The name of a task of lm-evaluation-harness: the longest family that is followed by a tag."""
    for prefix in sorted(FAMILIES, key=len, reverse=True):
        if not task.startswith(f"{prefix}_"):
            continue
        pieces = task[len(prefix) + 1 :].split("_")
        for count in (2, 1):
            language = language_of("_".join(pieces[:count])) if len(pieces) >= count else None
            if language:
                return _named(FAMILIES[prefix], language, "_".join(pieces[count:]))
    return None


def _named(family: Family, language: str, rest: str) -> TaskName | None:
    variant = VARIANT.match(rest)
    ending = f"-{variant[1].replace('_', '-')}" if variant else ""
    subject = rest[variant.end() :] if variant else rest
    if subject and not family.has_subjects:
        return None
    return TaskName(family.benchmark + ending, language, subject or None)


def language_of(tag: str) -> str | None:
    """The standard tag without a script or region that goes without saying: ``deu_Latn`` gives ``de``.

    None for words that are no tag. Of two pieces the second must be a script or a region (``pt_BR``).
    """
    second = tag.partition("_")[2]
    if second and not re.fullmatch(r"[A-Z][a-z]{3}|[A-Z]{2}", second):
        return None
    standard = language_tags.standard_tag(tag)
    if standard is None:
        return None
    language = langcodes.Language.get(standard)
    usual = langcodes.Language.get(language.language or "und").maximize()
    script = PARTS_OF_SCRIPTS.get(str(language.script), language.script)
    if script is not None and script == usual.script:
        return "-".join(piece for piece in standard.split("-") if piece != language.script)
    return standard
