"""The guided reading of the page as HTML: the part of docs/reading-the-report.md that the page contains."""

import functools
import importlib.resources
import re

from markdown_it import MarkdownIt


@functools.cache
def html() -> str:
    """The text of ``templates/reading.md``.

    Its headings are one level lower than there and have anchors made of their words.
    """
    text = (importlib.resources.files("polycal.report") / "templates" / "reading.md").read_text(
        encoding="utf-8"
    )
    tokens = (parser := MarkdownIt("commonmark").enable("table")).parse(text)
    for number, token in enumerate(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + 1}"
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[number + 1].content))
    return str(parser.renderer.render(tokens, parser.options, {}))


def anchor(heading: str) -> str:
    """The anchor of a heading, such as ``the-noise-floor``."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")
