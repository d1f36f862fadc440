"""The accuracy of base models by language and group, with the share of names that are as in English."""

import pandas as pd

from polycal.report import base_accuracy, english_names
from polycal.report.study_tables import StudyTables


def manifest(stage, **fields):
    return {"stage": stage, **fields}


def questions(benchmark, language, **source):
    return manifest("fetch_benchmark", cell={"benchmark": benchmark, "language": language, "source": source})


def test_shares_are_those_of_the_variant_that_a_benchmark_is_made_from():
    variants = {
        "world": {"equal_to_english": {"fil": {"all": 0.81, "city": 0.9}, "zh": {"all": 0.0}}},
        "world-ten": {"equal_to_english": {"fil": {"all": 0.7}}},
    }
    manifests = [
        questions("world-100", "fil", generated="resources/world/world"),
        questions("world-100", "zh", generated="resources/world/world"),
        questions("ten", "fil", generated="resources/world/world-ten"),
        questions("mmlu", "fil", hub="org/name", revision="c" * 40),
        manifest("world_benchmark", variants=variants),
        manifest("score", cell={}),
    ]
    assert english_names.shares(manifests) == {
        ("world-100", "fil"): 0.81,
        ("world-100", "zh"): 0.0,
        ("ten", "fil"): 0.7,
    }
    assert english_names.shares(manifests[:4]) == {}


def test_the_table_has_a_row_for_each_language_and_group_of_the_base_model(study):
    base = study["cells"][study["cells"].data == "none"]
    groups = base.drop(columns=["chance", "above_chance"]).assign(group="city", accuracy=0.5)
    mean = groups.iloc[:1].assign(language="mean")
    tuned = groups.assign(data="alpaca")
    tables = {**study.tables, "groups": pd.concat([groups, mean, tuned])}
    table = base_accuracy.table(StudyTables(tables, {}), {("mmlu-prox", "yo"): 0.25})
    assert len(table) == 2 * len(base)
    assert set(table.group) == {"all", "city"}
    whole = table[table.group == "all"].set_index("language")
    assert whole.accuracy.to_dict() == base.set_index("language").accuracy.to_dict()
    assert whole.equal_to_english.dropna().to_dict() == {"yo": 0.25}
    assert (table[table.group == "city"].accuracy == 0.5).all()
    assert not base_accuracy.at_chance(study, study["contrasts"].assign(language="mean")).any()
