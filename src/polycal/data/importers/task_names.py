"""Parse the name of a harness's task into benchmark, language and subject.

Names in lm-evaluation-harness are FAMILY_TAG or FAMILY_TAG_SUBJECT, where FAMILY is one of FAMILIES. Names in
lighteval are FAMILY_TAG_FORM or FAMILY_TAG_FORM:SUBJECT, where FORM is the form of the prompt.
"""

import re
from typing import NamedTuple

import langcodes

from polycal.data import language_tags


class Family(NamedTuple):
    """The tasks of one benchmark. ``has_subjects``: the name of a task may end with a subject."""

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
"""Beginning of the names in lm-evaluation-harness → family."""
ENGLISH = {
    "arc_challenge", "arc_easy", "commonsense_qa", "hellaswag", "openbookqa", "piqa", "sciq", "truthfulqa_mc1",
}  # fmt: skip
"""Tasks in English, whose names contain no language."""
FORMS = {"mcf": "", "cf": "", "hybrid": "-hybrid"}
"""Form in lighteval → ending of the benchmark's name.

mcf and cf need no ending, because the protocol of the record distinguishes letters and texts.
"""
FULL = {"global_mmlu_all": "global-mmlu"}
"""Families in lighteval whose names differ from the benchmark's."""
VARIANT = re.compile(
    r"(few_shot_en|few_shot_og|prompt_\d+|mc1|mc2|easy|challenge|mt|native|spanish_bench)(?:_|$)"
)
"""A variant of the prompt or a part of a benchmark. It becomes part of the benchmark's name."""
PARTS_OF_SCRIPTS = {"Hang": "Kore"}
"""Script → the usual script of which it is a part (Hangul is part of the Korean script)."""


class TaskName(NamedTuple):
    """The benchmark, the language (a BCP 47 tag) and the subject, which is None if the task has no subjects."""

    benchmark: str
    language: str
    subject: str | None = None


def recognise(task: str) -> TaskName | None:
    """The parts of a task's name, or None if the name is not known."""
    if task in ENGLISH:
        return TaskName(task.replace("_", "-"), "en")
    return _with_form(task) or _of_family(task)


def _with_form(task: str) -> TaskName | None:
    """The parts of a name in lighteval, where the tag of the language precedes the form."""
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
    """The parts of a name in lm-evaluation-harness, with the longest family that is followed by a tag."""
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
    """The name with the variant and subject in ``rest``, or None if the family has no subjects but one follows."""
    variant = VARIANT.match(rest)
    ending = f"-{variant[1].replace('_', '-')}" if variant else ""
    subject = rest[variant.end() :] if variant else rest
    if subject and not family.has_subjects:
        return None
    return TaskName(family.benchmark + ending, language, subject or None)


def language_of(tag: str) -> str | None:
    """The standard tag without the language's usual script: ``deu_Latn`` gives ``de``.

    None if it is not a tag. If the tag has two parts, the second must be a script or a region (``pt_BR``).
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
