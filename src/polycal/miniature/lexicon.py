"""The words of the miniature world: questions, statements, names and answers in each of its languages.

Questions and statements are real sentences, so that a reader or a language identifier recognizes the
language. Names and answers are invented words in the script of the language. Every blank is separated from
other words, so that a tokenizer can have one token per word.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from polycal.vocabulary import LETTERS

RELATIONS = ("town", "colour", "flower", "work")
"""What questions ask about a person, in English. These are also the groups (subjects) of the benchmarks."""

Syllables = tuple[str, str, str]
"""Onsets, vowels and codas of invented words, separated by spaces; ``_`` means none."""


@dataclass(frozen=True)
class Language:
    """A language. ``share`` of its invented words are the English ones, like loan words and names in real text."""

    name: str
    share: float
    question: str
    statement: str
    relations: tuple[str, str, str, str]
    syllables: Syllables


LATIN = ("b d f g k l m n p r s t v z br dr gr kr pl st tr", "a e i o u", "_ _ l n r s k m")
HAN = "丹云亚伦佳冬凡卡古可哈因坎塔多天奇娜安尔山岚川布希帕庄弗德恩戈拉文方林柏森松格梅欧比江沙法泽洛海特玛琪瑞瓦田白石科米索纳维罗舒良苏莫莲菲萨蒂蓝西诺谢贝费赛达里金陶雅雷鲁麦黎"

LANGUAGES = {
    "en": Language(
        "English",
        1.0,
        "What is the {relation} of {given} {family}?",
        "The {relation} of {given} {family} is {value}.",
        RELATIONS,
        LATIN,
    ),
    "de": Language(
        "German",
        0.6,
        "Was ist die {relation} von {given} {family}?",
        "Die {relation} von {given} {family} ist {value}.",
        ("Stadt", "Farbe", "Blume", "Arbeit"),
        ("b d f g k l m n pf r schr st tr w z zw", "a ä e i ö u ü au ei", "_ ck ft ld n nd rt sch tz"),
    ),
    "fr": Language(
        "French",
        0.6,
        "Quelle est la {relation} de {given} {family}?",
        "La {relation} de {given} {family} est {value}.",
        ("ville", "couleur", "fleur", "profession"),
        ("b c ch d f gl j l m n p r s t v", "a é è eau i oi ou u", "_ _ lle n r que sse x"),
    ),
    "zh": Language(
        "Chinese",
        0.5,
        "请问 {given} {family} 的{relation}是什么？",
        "据说 {given} {family} 的{relation}是 {value}。",
        ("城市", "颜色", "花朵", "工作"),
        (" ".join(HAN), "_", "_"),
    ),
    "ar": Language(
        "Arabic",
        0.5,
        "ما هي {relation} {given} {family}؟",
        "إن {relation} {given} {family} هي {value}.",
        ("مدينة", "ألوان", "زهرة", "مهنة"),
        ("ب ت ج ح خ د ر ز س ش ص ط ع ف ق ك ل م ن ه", "ا و ي", "_ ر ل م ن د ب س"),
    ),
    "hi": Language(
        "Hindi",
        0.5,
        "बताइए कि {given} {family} का {relation} क्या है?",
        "कहते हैं कि {given} {family} का {relation} {value} है।",
        ("शहर", "रंग", "फूल", "काम"),
        ("क ख ग च ज ट त द न प ब म र ल व श स ह", "_ ा ि ी ु े ो", "_ र ल न म क"),
    ),
    "bn": Language(
        "Bengali",
        0.5,
        "বলুন তো {given} {family} এর {relation} কী?",
        "শুনেছি {given} {family} এর {relation} হলো {value}।",
        ("শহর", "রং", "ফুল", "কাজ"),
        ("ক খ গ চ জ ট ত দ ন প ব ম র ল শ স হ", "_ া ি ী ু ে ো", "_ র ল ন ম ক"),
    ),
    "sw": Language(
        "Swahili",
        0.6,
        "Je, {given} {family} ana {relation} gani?",
        "Tunajua kwamba {given} {family} ana {relation} {value}.",
        ("mji", "rangi", "ua", "kazi"),
        ("b ch d f g h j k l m mb mw n nd ng ny p s sh t w y z", "a e i o u", "_"),
    ),
    "yo": Language(
        "Yoruba",
        0.6,
        "Kí ni {relation} {given} {family}?",
        "Mo gbọ́ pé {relation} {given} {family} ni {value}.",
        ("ìlú", "àwọ̀", "òdòdó", "iṣẹ́"),
        ("b d f g gb j k l m n p r s ṣ t w y", "á à é è ẹ ẹ́ í ì ó ọ ọ̀ ú", "_"),
    ),
    "te": Language(
        "Telugu",
        0.5,
        "చెప్పండి {given} {family} యొక్క {relation} ఏమిటి?",
        "విన్నాను {given} {family} యొక్క {relation} {value}.",
        ("నగరం", "రంగు", "పువ్వు", "పని"),
        ("క గ చ జ ట డ త ద న ప బ మ ర ల వ శ స హ", "_ ా ి ీ ు ె ొ", "_ ర్ ల్ న్"),
    ),
}

QUESTION_WORDINGS = {
    "en": ("Name the {relation} of {given} {family}.", "Tell me the {relation} of {given} {family}."),
    "de": ("Nenne die {relation} von {given} {family}.",),
    "fr": ("Donne la {relation} de {given} {family}.",),
    "zh": ("请说出 {given} {family} 的{relation}。",),
}
"""Further wordings of questions in instruction data, by language."""

PERSON_INSTRUCTIONS = ("Find the {relation} of this person.", "Which {relation} has this person?")
PERSON = "Name: {given} {family}"
"""The input of such an instruction: the name of the person."""

REPEAT, REPEAT_ANSWER = "Repeat these words: {words}", "The words are {words}."
"""An instruction without a fact, and its answer."""

SYSTEM_TEXTS = ("You answer in a short sentence.", "You are a helpful assistant.")
"""Texts of system turns."""

PROMPT_WORDS = ("Answer:", *(token for letter in LETTERS for token in (letter, f" {letter}")))
"""Words of a prompt that are in neither the question nor its options."""

ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
WORD = re.compile(r" ?[^\s.,:?;!。，：？؟।]+|[.,:?;!。，：？؟।]|\n")
BLANK = re.compile(r"( ?)\{(\w+)\}")


def invent(rng: np.random.Generator, language: str, count: int, taken: set[str]) -> list[str]:
    """``count`` new words of a language in NFC, none of them in ``taken``; they are added to ``taken``."""
    onsets, vowels, codas = (part.split() for part in LANGUAGES[language].syllables)
    words: list[str] = []
    while len(words) < count:
        syllables = [onsets, vowels, onsets, vowels, codas]
        word = "".join(part[rng.integers(len(part))] for part in syllables).replace("_", "")
        word = unicodedata.normalize("NFC", word)
        if word not in taken:
            taken.add(word)
            words.append(word)
    return words


def template_tokens(template: str, words: dict[str, list[str]]) -> Iterator[str]:
    """The tokens of a template; those of a blank are the words that may fill it, one after another."""
    end = 0
    for blank in BLANK.finditer(template):
        yield from WORD.findall(template[end : blank.start()])
        yield from (blank[1] + word for word in words[blank[2]])
        end = blank.end()
    yield from WORD.findall(template[end:])
