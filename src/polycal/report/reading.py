"""How to read the page: the part of docs/reading-the-report.md that the page contains, as HTML."""

import functools
import importlib.resources
import re

from markdown_it import MarkdownIt


@functools.cache
def html() -> str:
    """The text of ``templates/reading.md``; its headings are one level lower and have anchors of their words."""
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
    """The anchor of a heading, such as "the-noise-floor"."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")
