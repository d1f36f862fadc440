"""Sphinx: the documents of the repository as a site, with README.md as its home page; run by ``make docs``.

The source folder is the root of the repository, so that links between documents are the same on the site and in
the repository. The site loads no font, script or picture from a network.
"""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "polycal"
version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
html_title = f"polycal {version}"

root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**",
    "config/README.md",
    "config/own/README.md",
    "profiles/slurm/README.md",
    "tests/real/README.md",
]
exclude_patterns = [".*", "results/.*", "results/[!r]*", "resources", "logs", "src"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
nitpicky = True
nitpick_ignore_regex = [("py:.*", "(numpy|torch|polycal|Array|Integers|Tensor).*")]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
# excerpts need a server; titles are found in a page that is opened as a file, too
html_show_search_summary = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "default"
pygments_dark_style = "monokai"

INTERVAL = re.compile(r"\[([-+−\d.]+), ([-+−\d.]+)\]")
NAVIGATION = {
    "First": ["docs/tutorial", "docs/reading-the-report", "docs/glossary"],
    "Results": ["docs/results", "docs/log", "docs/provenance"],
    "Numbers": ["docs/method", "docs/world", "docs/results-folder", "docs/trust", "docs/footguns"],
    "Running": [
        "config/README",
        "config/own/README",
        "docs/import",
        "docs/sizing",
        "profiles/slurm/README",
        "docs/faults",
        "docs/performance",
    ],
    "Library": ["docs/api-metrics", "docs/api-losses"],
    "Code": ["docs/architecture", "CONTRIBUTING", "tests/real/README", "CHANGELOG"],
}
"""The pages in the sidebar, by heading. A page that is missing here is an error."""


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the sidebar's pages to the home page; in the repository they would be noise."""
    if name == root_doc:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
            + "\n".join(f"/{page}" for page in pages)
            + "\n```\n"
            for caption, pages in NAVIGATION.items()
        )


def copy_home_page(app: Sphinx, error: Exception | None) -> None:
    """Let the home page have the name that browsers and servers open."""
    if error is None:
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def escape_bars(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Let |x| in a docstring be an absolute value, not a substitution of reStructuredText."""
    lines[:] = [line.replace("|", r"\|") if ">>>" not in line else line for line in lines]


def keep_intervals_together(app: Sphinx, tree: nodes.document, name: str) -> None:
    """Let no line of a table's cell end inside an interval such as [0.1, 0.2]."""
    for entry in tree.findall(nodes.entry):
        for text in list(entry.findall(nodes.Text)):
            text.parent.replace(text, nodes.Text(INTERVAL.sub("[\\1,\u00a0\\2]", text.astext())))


def setup(app: Sphinx) -> None:
    """Register the steps above with Sphinx, and the name of a format that Pygments lacks."""
    app.add_lexer("csv", TextLexer)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("source-read", add_navigation)
    app.connect("doctree-resolved", keep_intervals_together)
    app.connect("build-finished", copy_home_page)
