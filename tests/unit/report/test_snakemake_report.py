"""The landing page of Snakemake's report."""

import html

import docutils.core
import pytest
import yaml

from polycal.report import snakemake_report


@pytest.mark.parametrize("text", ["a *b* `c` |d| _e_", "?__import__('os')", "<script>&amp;</script>"])
def test_escaped_text_is_shown_as_it_is(text):
    body = docutils.core.publish_parts(snakemake_report.escaped(text), writer="html")["body"]
    shown = body.removeprefix("<p>").strip().removesuffix("</p>")
    assert "<" not in shown
    assert html.unescape(html.unescape(shown)) == text
    assert not snakemake_report.escaped(text).startswith("?")


def test_the_landing_page_is_one_value_with_a_line_per_fact(tmp_path):
    run = {"commit": "c" * 40, "dirty": True, "lock": "1" * 64, "python": "3.12"}
    path = tmp_path / "provenance/landing.yaml"
    snakemake_report.write_landing_page(path, run, [], {"languages": {"en": "English"}, "bins": 15})
    [text] = yaml.safe_load(path.read_text()).values()
    facts = text.replace("\\", "").split(" <br> ")
    assert facts[0] == f"Commit of this report: {'c' * 40} (with uncommitted changes)"
    assert "Accepted changes: none" in facts
    assert 'Configuration: {"bins": 15}' in facts
    assert len(facts) == 8
