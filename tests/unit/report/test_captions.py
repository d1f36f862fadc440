"""Exactly the kinds of figures that can be drawn have a title, a caption and a question."""

import re

import pytest

from polycal.report import captions
from polycal.report.captions import FIGURE_KINDS
from polycal.report.figures import draw


def test_every_kind_that_is_drawn_is_described(generated_study, probed_study, runs_study):
    drawn = {
        captions.kind_of(name)
        for tables in (generated_study, probed_study, runs_study)
        for name in draw.drawings(tables)
    }
    assert drawn == set(FIGURE_KINDS)


@pytest.mark.parametrize("kind", FIGURE_KINDS)
def test_a_kind_is_one_word_with_title_caption_and_question(kind):
    assert re.fullmatch("[a-z]+", kind), (
        "the rule report finds figures by the pattern {kind,[a-z]+}-{name}.png"
    )
    about = FIGURE_KINDS[kind]
    assert about.title
    assert about.caption.endswith(".")
    assert about.question.endswith("?")
    # captions are used as reStructuredText, HTML and Markdown, so they must not contain markup
    assert not re.search(r"[<>*`_|{}\\]", "".join(about))
