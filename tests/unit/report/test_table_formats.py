"""Tables of texts as Markdown and LaTeX."""

import pandas as pd

from polycal.report import table_formats


def test_latex_escapes_special_characters_and_sets_minus_signs():
    table = pd.DataFrame({"S": ["a_b & 5%"], "Name": ["x_1"], "Value": ["-0.5 [-1, +2]"]})
    text = table_formats.latex(table, ["S"])
    assert r"\multicolumn{2}{l}{\emph{a\_b \& 5\%}} \\" in text
    assert r"x\_1 & $-$0.5 [$-$1, +2] \\" in text
    assert r"\begin{tabular}{lr}" in text


def test_markdown_escapes_the_column_mark():
    table = pd.DataFrame({"a|b": ["1|2"], "c": ["3"]})
    assert table_formats.markdown(table) == "| a\\|b | c |\n| --- | --- |\n| 1\\|2 | 3 |\n"
