"""Texts are tokenized from their ends as they are in full, and in full if a tokenizer does not work locally."""

import numpy as np
import pytest
from helpers import models as tiny

from polycal.data.token_ids import Encoder
from polycal.scoring.text_ends import COMPARED, TextEnds

BEGINNING = "What is seven and nine? It is the number sixteen.\nAnswer: A\n\n" * 4
QUESTION = "Which of these does the report say about the old mill? A. One B. Two\nAnswer:"
ENDS = [f"{QUESTION} B\nConfidence: {level}%" for level in range(0, 101, 10)]


class Counted:
    """An encoder that counts the characters it reads."""

    def __init__(self, encode):
        self.encode, self.before, self.characters = encode, encode.before, 0

    def __call__(self, texts):
        self.characters += sum(map(len, texts))
        return self.encode(texts)


@pytest.mark.parametrize("made", ["learned", "fallback"])
def test_the_tokens_are_those_of_the_complete_texts(made):
    tokenizer = tiny.fallback() if made == "fallback" else tiny.tokenizer(True, [BEGINNING, QUESTION], 330)
    encode = Counted(Encoder(tokenizer))
    ends = TextEnds(encode)
    known = np.array(encode([BEGINNING + QUESTION + " A"])[0])
    expected = encode([BEGINNING + end for end in ENDS])
    for turn in range(COMPARED + 2):
        encode.characters = 0
        assert ends(known, BEGINNING, QUESTION + " A", ENDS) == expected
        assert (encode.characters > len(BEGINNING) * len(ENDS)) == (turn < COMPARED)
    assert ends.local


def test_without_a_common_beginning_or_with_an_early_difference_texts_are_read_in_full():
    encode = Counted(Encoder(tiny.tokenizer(True)))
    ends = TextEnds(encode)
    for beginning, texts in (("", ENDS), (BEGINNING, ["another question", *ENDS])):
        known = np.array(encode([beginning + QUESTION + " A"])[0])
        for _ in range(COMPARED + 1):
            assert ends(known, beginning, QUESTION + " A", texts) == encode(
                [beginning + end for end in texts]
            )


def test_a_tokenizer_that_does_not_work_locally_is_used_in_full():
    class Whole:
        """The first token of a long text depends on its length."""

        before: tuple[int, ...] = ()

        def __call__(self, texts):
            return [[len(text) if len(text) > 200 else 0, *map(ord, text)] for text in texts]

    ends = TextEnds(Whole())
    known = np.array(Whole()([BEGINNING + QUESTION + " A"])[0])
    expected = Whole()([BEGINNING + end for end in ENDS])
    assert ends(known, BEGINNING, QUESTION + " A", ENDS) == expected
    assert not ends.local
    assert ends(known, BEGINNING, QUESTION + " A", ENDS) == expected
