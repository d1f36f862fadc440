"""The page's guided reading is the text of the document, and every figure links to a section that exists."""

import re
from pathlib import Path

from polycal.report import captions, reading

DOCUMENT = Path(__file__).parents[3] / "docs/reading-the-report.md"
TEXT = Path(reading.__file__).parent / "templates/reading.md"


def test_the_document_contains_the_text():
    assert TEXT.read_text(encoding="utf-8") in DOCUMENT.read_text(encoding="utf-8")


def test_figures_and_headings_have_their_anchors():
    html = reading.html()
    anchors = set(re.findall(r' id="([^"]+)"', html))
    assert {about.reading for about in captions.FIGURE_KINDS.values()} <= anchors
    assert "what-the-intervals-cover" in anchors
    assert "<h1" not in html
    assert "<h2" not in html
    assert "<table>" in html
