"""The example of docs/architecture.md: a registry entry, a path, a rule and a module add a stage."""

import json
import re

from helpers.world import ROOT

RECORD = "results/lengths/benchmark=mine/language=en/lengths.json"


def test_the_documented_example_adds_a_stage(world):
    text = (ROOT / "docs/architecture.md").read_text()
    text = text[text.index("## Example: a new stage") :]
    module, entry, path = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [rule] = re.findall(r"```\n(rule .*?)```", text, re.DOTALL)
    package = world.code / "src/polycal"
    (package / "analysis/question_lengths.py").write_text(module)
    world.edit("src/polycal/store/stages.py", "_ALL = (\n", f"_ALL = (\n{entry.rstrip()},\n")
    world.edit("src/polycal/study/paths.py", "\nSTUDY = ", f"\n{path}\nSTUDY = ")
    with (world.code / "workflow/rules/measure.smk").open("a") as rules:
        rules.write(f"\n\n{rule}")

    # no existing result becomes stale
    assert world.planned() == {}
    assert world.status() == []

    assert world.run(RECORD) == {"question_lengths": 1}
    manifest = json.loads((world.work / RECORD).read_text())
    assert manifest["stage"] == "question_lengths"
    assert manifest["cell"] == {"stage": "question_lengths", "benchmark": "mine", "language": "en"}
    assert set(manifest["reads"]) == {"questions"}
    assert manifest["mean_characters"] > 1

    # it is cached, and a deleted record is restored
    (world.work / RECORD).unlink()
    assert world.run(RECORD) == {}
    assert (world.work / RECORD).exists()

    # its sources are found, and its manifest is checked against the schema
    chain = world.polycal("provenance", RECORD)
    assert chain.returncode == 0, chain.stderr
    assert "resources/benchmarks/mine/en.parquet" in chain.stdout
    assert world.polycal("question-lengths", "--help").returncode == 0

    # an edit of its module makes only its own results stale
    world.edit("src/polycal/analysis/question_lengths.py", "mean = ", "mean = 1.0 * ")
    assert world.planned() == {}
    assert world.run(RECORD) == {"question_lengths": 1}
