"""Import of logs of lm-evaluation-harness: values, origin, and which logs are refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import harness_logs
from helpers.harness_logs import TIME, old_sample, sample, samples, write_lines, write_run

from polycal.analysis import score_arrays
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import files, records
from polycal.data.importers import logs
from polycal.data.importers.logged_questions import ImportLogError
from polycal.data.importers.score_records import Names, import_logs

FILE = f"samples_belebele_deu_Latn_{TIME}.jsonl"


def imported(folder: Path, out: Path, tasks: str = "*", **names: str) -> dict[str, Path]:
    """The records by their path below ``out``."""
    paths = import_logs("lm-eval", folder, out, Names(**names), tasks)
    return {path.relative_to(out).as_posix(): path for path in paths}


def rows(path: Path) -> list[dict[str, Any]]:
    return records.read_scores(path).to_pylist()


def refused(folder: Path, out: Path, **names: str) -> str:
    """The message with which an import is refused; nothing may be written."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(ImportLogError) as error:
        import_logs("lm-eval", folder, out, Names(**names))
    assert sorted(out.parent.rglob("*")) == before
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_values_are_those_of_the_log(tmp_path: Path) -> None:
    lines = samples(20)
    run = write_run(tmp_path / "logs", {"belebele_deu_Latn": lines}, shots=5)
    [(name, path)] = imported(tmp_path / "logs", tmp_path / "out").items()
    assert name == "lab__model/belebele/texts-5shot/de.parquet"
    for row, line in zip(rows(path), lines, strict=True):
        assert row["option_logprob"] == [float(answer[0]) for answer in line["filtered_resps"]]
        assert row["gold"] == int(line["target"])
        texts = [argument["arg_1"][1:] for argument in line["arguments"].values()]
        assert row["option_bytes"] == [len(text.encode()) for text in texts]
        assert row["option_tokens"] is None
    scored = score_arrays.read(path)
    right = scored.log_probabilities("sum").argmax(1) == scored.gold
    assert right.tolist() == [line["acc"] == 1 for line in lines]
    origin = records.metadata(path)["origin"]
    assert (origin["tool"], origin["version"], origin["model"]) == (
        "lm-evaluation-harness",
        "0.4.13",
        "lab/model",
    )
    [log] = origin["logs"]
    assert log["file"] == f"lab__model/{FILE}"
    assert log["sha256"] == files.sha256(run / FILE)
    assert (log["task"], log["num_fewshot"]) == ("belebele_deu_Latn", 5)


def test_missing_numbers_of_tokens_stay_missing(tmp_path: Path) -> None:
    write_run(tmp_path / "logs", {"belebele_deu_Latn": samples()})
    [path] = imported(tmp_path / "logs", tmp_path / "out").values()
    scored = score_arrays.read(path)
    assert scored.normalisations(["sum", "token", "byte"]) == ["sum", "byte"]
    with pytest.raises(MeasureError, match=r"normalise 'token' needs the number of tokens"):
        scored.log_probabilities("token")


def test_subjects_become_groups_of_one_record_with_unique_ids(tmp_path: Path) -> None:
    tasks = {f"global_mmlu_full_de_{subject}": samples(5, letters=True) for subject in ("law", "anatomy")}
    write_run(tmp_path / "logs", tasks)
    [(name, path)] = imported(tmp_path / "logs", tmp_path / "out").items()
    assert name == "lab__model/global-mmlu/letters-0shot/de.parquet"
    assert [row["group"] for row in rows(path)] == ["anatomy"] * 5 + ["law"] * 5
    assert [row["question_id"] for row in rows(path)][4:6] == ["anatomy/4", "law/0"]


def test_ids_of_the_data_set_are_used_if_they_are_unique(tmp_path: Path) -> None:
    tasks = {
        f"global_mmlu_full_de_{subject}": [
            {**line, "doc": {"sample_id": f"{subject}/test/{line['doc_id']}", "subject": subject.upper()}}
            for line in samples(3, letters=True)
        ]
        for subject in ("law", "anatomy")
    }
    write_run(tmp_path / "logs", tasks)
    [path] = imported(tmp_path / "logs", tmp_path / "out").values()
    assert [row["question_id"] for row in rows(path)][2:4] == ["anatomy/test/2", "law/test/0"]
    assert {row["group"] for row in rows(path)} == {"ANATOMY", "LAW"}
    # Ids that occur in both subjects are not used.
    for lines in tasks.values():
        for line in lines:
            line["doc"]["sample_id"] = line["doc_id"]
    write_run(tmp_path / "again", tasks)
    [path] = imported(tmp_path / "again", tmp_path / "second").values()
    assert [row["question_id"] for row in rows(path)][2:4] == ["anatomy/2", "law/0"]


def test_several_processes_read_the_same_and_refuse_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {f"belebele_{tag}_Latn": samples(6) for tag in ("deu", "fra", "ita")}
    run = write_run(tmp_path / "logs", tasks)
    alone = imported(tmp_path / "logs", tmp_path / "alone")
    monkeypatch.setattr(logs, "PARALLEL_FROM", 1)
    monkeypatch.setattr(logs.os, "sched_getaffinity", lambda _: {0, 1})
    together = imported(tmp_path / "logs", tmp_path / "together")
    assert list(alone) == list(together)
    assert [path.read_bytes() for path in alone.values()] == [path.read_bytes() for path in together.values()]
    broken = run / f"samples_belebele_fra_Latn_{TIME}.jsonl"
    broken.write_text("{}\n")
    assert refused(tmp_path / "logs", tmp_path / "out").startswith(
        f"{broken}: line 1: key 'arguments' is missing"
    )


def test_lines_of_several_ranks_are_sorted(tmp_path: Path) -> None:
    lines = samples(9)
    write_run(tmp_path / "one", {"xcopa_et": lines})
    write_run(tmp_path / "two", {"xcopa_et": lines[0::3] + lines[1::3] + lines[2::3]})
    [one] = imported(tmp_path / "one", tmp_path / "a").values()
    [two] = imported(tmp_path / "two", tmp_path / "b").values()
    assert rows(one) == rows(two)


def test_numbers_of_an_unsorted_list_of_samples_are_refused(tmp_path: Path) -> None:
    lines = samples(9)
    write_run(tmp_path / "logs", {"xcopa_et": [lines[5], lines[2], lines[8]]})
    assert "the list must be sorted" in refused(tmp_path / "logs", tmp_path / "out")
    # If the data set has ids, the numbers are not needed.
    named = [{**line, "doc": {"id": f"q{line['doc_id']}"}} for line in (lines[5], lines[2], lines[8])]
    write_run(tmp_path / "named", {"xcopa_et": named})
    [path] = imported(tmp_path / "named", tmp_path / "out").values()
    assert [row["question_id"] for row in rows(path)] == ["q2", "q5", "q8"]


def test_the_second_half_of_the_requests_of_pmi_are_the_unconditional_log_likelihoods(tmp_path: Path) -> None:
    [line] = samples(1)
    options = [argument["arg_1"] for argument in line["arguments"].values()]
    for index, option in enumerate(options):
        line["arguments"][f"gen_args_{len(options) + index}"] = {"arg_0": "", "arg_1": option}
        line["resps"].append([[str(-1.5 - index), "False"]])
    write_run(tmp_path / "logs", {"xnli_de": [line]})
    [path] = imported(tmp_path / "logs", tmp_path / "out").values()
    [row] = rows(path)
    assert row[records.UNCONDITIONAL] == [-1.5 - index for index in range(len(options))]
    assert len(row["option_logprob"]) == len(options)
    assert score_arrays.read(path).normalisations(["sum"]) == ["sum", "pmi"]


@pytest.mark.parametrize(
    ("options", "target", "gold"),
    [
        (["A", "B", "C"], "B", 1),
        (["A", "B", "C"], "1", 1),
        (["ja", "nein"], "nein", 1),
        (["ja", "nein"], " ja", 0),
        (["ja", "nein"], "[1]", 1),
        (["ja", "nein"], "True", 1),
    ],
)
def test_the_target_is_an_index_an_option_or_a_list_of_one(
    tmp_path: Path, options: list[str], target: str, gold: int
) -> None:
    write_run(
        tmp_path / "logs", {"xcopa_et": [sample(0, options, [-2.0, -1.0, -3.0][: len(options)], target)]}
    )
    [path] = imported(tmp_path / "logs", tmp_path / "out").values()
    assert [row["gold"] for row in rows(path)] == [gold]


@pytest.mark.parametrize("is_index", [True, False])
def test_the_reading_of_numeric_options_agrees_with_the_harness(tmp_path: Path, is_index: bool) -> None:
    options, lines = ["1", "2", "0"], []
    for number in range(3):
        target = number
        gold = target if is_index else options.index(str(target))
        logprob = [-3.0, -3.0, -3.0]
        logprob[number] = -1.0
        lines.append(sample(number, options, logprob, target, acc=float(gold == number)))
    write_run(tmp_path / "logs", {"xcopa_et": lines})
    [path] = imported(tmp_path / "logs", tmp_path / "out").values()
    expected = [0, 1, 2] if is_index else [2, 0, 1]
    assert [row["gold"] for row in rows(path)] == expected


def test_a_target_that_may_be_index_or_option_is_refused_without_acc(tmp_path: Path) -> None:
    write_run(tmp_path / "logs", {"xcopa_et": [sample(0, ["1", "2", "0"], [-1.0, -2.0, -3.0], "1")]})
    assert "target is both an index and an option" in refused(tmp_path / "logs", tmp_path / "out")


def test_logs_of_the_older_layout(tmp_path: Path) -> None:
    elements = [
        old_sample(0, ["ja", "nein"], [-1.5, -0.5], 1),
        old_sample(1, ["ja", "nein"], [-2.0, -0.25], "ja"),
    ]
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "pretrained=lab-m_xcopa_et.jsonl").write_text(json.dumps(elements, indent=2))
    results = {
        "configs": {"xcopa_et": {}},
        "n-shot": {"xcopa_et": 2},
        "config": {"model_args": "pretrained=lab/m"},
    }
    (folder / "results.json").write_text(json.dumps(results))
    [(name, path)] = imported(folder, tmp_path / "out").items()
    assert name == "lab__m/xcopa/texts-2shot/et.parquet"
    assert [(row["gold"], row["option_logprob"]) for row in rows(path)] == [
        (1, [-1.5, -0.5]),
        (0, [-2.0, -0.25]),
    ]
    assert records.metadata(path)["origin"]["version"] is None


def test_a_log_without_results_is_imported_with_what_its_path_contains(tmp_path: Path) -> None:
    write_lines(tmp_path / "logs/lab__m" / FILE, samples(3, letters=True))
    [(name, path)] = imported(tmp_path / "logs", tmp_path / "out").items()
    assert name == "lab__m/belebele/letters/de.parquet"
    assert records.metadata(path)["cell"]["data"] == "none"


def test_several_runs_and_languages_in_one_folder(tmp_path: Path) -> None:
    for model in ("lab/base", "lab/tuned"):
        write_run(
            tmp_path / "logs", {"belebele_deu_Latn": samples(4), "belebele_zho_Hant": samples(4)}, model=model
        )
    write_run(
        tmp_path / "logs", {"belebele_deu_Latn": samples(4)}, model="lab/base", shots=5, time=TIME + "1"
    )
    assert list(imported(tmp_path / "logs", tmp_path / "out")) == [
        "lab__base/belebele/texts-0shot/de.parquet",
        "lab__base/belebele/texts-0shot/zh-Hant.parquet",
        "lab__base/belebele/texts-5shot/de.parquet",
        "lab__tuned/belebele/texts-0shot/de.parquet",
        "lab__tuned/belebele/texts-0shot/zh-Hant.parquet",
    ]


def test_names_that_the_user_gives(tmp_path: Path) -> None:
    write_run(tmp_path / "logs", {"mine_a": samples(3), "mine_b": samples(3)})
    assert "--language" in refused(tmp_path / "logs", tmp_path / "out")
    names = {"language": "fra", "benchmark": "mine", "model": "m"}
    [(name, path)] = imported(tmp_path / "logs", tmp_path / "out", **names).items()
    assert name == "m/mine/texts-0shot/fr.parquet"
    assert {row["group"] for row in rows(path)} == {"mine_a", "mine_b"}
    assert list(imported(tmp_path / "logs", tmp_path / "each", language="fr")) == [
        "lab__model/mine_a/texts-0shot/fr.parquet",
        "lab__model/mine_b/texts-0shot/fr.parquet",
    ]
    write_run(tmp_path / "german", {"belebele_deu_Latn": samples(3)})
    assert "is in 'de', but --language is 'fr'" in refused(
        tmp_path / "german", tmp_path / "no", language="fr"
    )
    assert "not the tag of a language" in refused(tmp_path / "german", tmp_path / "no", language="english!")


def generated(number: int) -> dict[str, Any]:
    return {
        **sample(number, ["x"], [-1.0], "7"),
        "arguments": {"gen_args_0": {"arg_0": "2 + 5 =", "arg_1": {"until": ["\n"]}}},
        "resps": [[" 7"]],
        "filtered_resps": ["7"],
    }


def test_a_task_without_log_likelihoods_is_refused_and_can_be_excluded(tmp_path: Path) -> None:
    tasks = {"mmlu_prox_de_law": [generated(0)], "xcopa_et": samples(3)}
    run = write_run(tmp_path / "logs", tasks)
    message = refused(tmp_path / "logs", tmp_path / "out")
    assert f"{run}/samples_mmlu_prox_de_law_{TIME}.jsonl: line 1" in message
    assert "generates text" in message
    assert list(imported(tmp_path / "logs", tmp_path / "out", "xcopa_*")) == [
        "lab__model/xcopa/texts-0shot/et.parquet"
    ]


def changed(**other: Any) -> dict[str, Any]:
    return {**samples(2)[1], **other}


def with_value(value: Any) -> dict[str, Any]:
    line = samples(2)[1]
    line["resps"][0][0][0] = value
    return line


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in samples(2)[1].items() if name != key}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (with_value("nan"), "resps has 'nan' as a log-likelihood"),
        (with_value(math.nan), "resps has nan as a log-likelihood"),
        (with_value("-inf"), "must be a finite number up to 0"),
        (with_value("2.5"), "resps has '2.5' as a log-likelihood"),
        (with_value("-1e39"), "must be a finite number up to 0"),
        (with_value("low"), "resps has 'low' as a log-likelihood"),
        (changed(resps=[[["-1.0", "False"]]]), "resps and arguments differ in length"),
        (changed(target="[0, 2]"), r"target is [0, 2], which are 2 right options"),
        (changed(target="9"), "target is '9'; must be an option or a number from 0 to"),
        (changed(target="-100"), "target is '-100'"),
        (changed(acc=0.37), "acc is 0.37; must be 0 or 1"),
        (changed(acc=1 - samples(2)[1]["acc"]), "both must agree"),
        (changed(doc_id=0), "question 0 is already in line 1"),
        (changed(doc_id=10**20), "doc_id is 100000000000000000000"),
        (changed(doc="text"), "doc is str; must be an object"),
        (changed(arguments="text"), "arguments has another form than in earlier entries"),
        (changed(acc="1.0"), "acc is '1.0'"),
        (changed(doc_id="one"), "doc_id is 'one'"),
        (changed(arguments=[["c", " a"], ["c", " b"]]), "arguments has another form than in earlier entries"),
        (without("resps"), "key 'resps' is missing"),
        (["not", "an", "object"], "must be a JSON object, not list"),
        (sample(1, ["one"], [-1.0], "0"), "1 option(s); a question needs at least two"),
        (sample(1, ["one", ""], [-1.0, -2.0], "0"), "option 1 is empty"),
    ],
)
def test_a_wrong_line_is_refused(tmp_path: Path, second: Any, message: str) -> None:
    run = write_run(tmp_path / "logs", {"belebele_deu_Latn": [samples(2)[0], second], "xcopa_et": samples(2)})
    error = refused(tmp_path / "logs", tmp_path / "out")
    assert error.startswith(f"{run / FILE}: line 2: ")
    assert message in error


@pytest.mark.parametrize(
    "line",
    [
        sample(0, ["\ud83d", "b"], [-1.0, -2.0], "1"),
        sample(0, ["a", "b"], [-1.0, -2.0], "1", doc={"id": "\ud83d"}),
    ],
)
def test_text_that_is_not_unicode_is_refused(tmp_path: Path, line: dict[str, Any]) -> None:
    path = tmp_path / "logs/lab__model" / FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(line))
    assert f"{path}: line 1: a text contains half a surrogate pair" in refused(
        tmp_path / "logs", tmp_path / "out"
    )


def test_several_contexts_are_refused(tmp_path: Path) -> None:
    line = sample(0, ["same", "same"], [-1.0, -2.0], "same")
    line["arguments"]["gen_args_1"]["arg_0"] = "Another beginning"
    write_run(tmp_path / "logs", {"xwinograd_pt": [line]})
    assert "several contexts" in refused(tmp_path / "logs", tmp_path / "out")


def test_a_truncated_log_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "logs", {"belebele_deu_Latn": samples(3)})
    text = (run / FILE).read_text()
    (run / FILE).write_text(text[:-40])
    assert f"{FILE}: line 3: not valid JSON" in refused(tmp_path / "logs", tmp_path / "out")
    (run / FILE).write_text("".join(text.splitlines(keepends=True)[:2]))
    message = refused(tmp_path / "logs", tmp_path / "out")
    assert f"contains 2 questions, but results_{TIME}.json counts 3" in message
    (run / FILE).write_text("")
    assert "contains no question" in refused(tmp_path / "logs", tmp_path / "out")
    (run / FILE).write_bytes(text.encode().replace(b"What", b"Wh\xff\xfet", 1))
    assert f"{FILE}: line 1: not valid JSON (not UTF-8)" in refused(tmp_path / "logs", tmp_path / "out")
    (run / FILE).write_text(text)
    (run / f"results_{TIME}.json").write_text('{"config":')
    assert "broken or truncated" in refused(tmp_path / "logs", tmp_path / "out")


def test_two_runs_of_one_task_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "logs", {"belebele_deu_Latn": samples(3)})
    write_run(tmp_path / "logs", {"belebele_deu_Latn": samples(3, seed=1)}, time=TIME + "9")
    message = refused(tmp_path / "logs", tmp_path / "out")
    assert f"{run / FILE} and {run}/samples_belebele_deu_Latn_{TIME}9.jsonl are both" in message
    assert "one run of each model and task" in message


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "--log_samples" in refused(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty/words.jsonl").write_text("{}\n")
    assert "not a log of lm-eval" in refused(tmp_path / "empty", tmp_path / "out")
    write_run(tmp_path / "logs", {"xcopa_et": samples(3)})
    imported(tmp_path / "logs", tmp_path / "out")
    assert "already exists" in refused(tmp_path / "logs", tmp_path / "out")
    with pytest.raises(ImportLogError, match="no log has a task that matches 'xnli"):
        import_logs("lm-eval", tmp_path / "logs", tmp_path / "other", Names(), "xnli_*")


def test_names_that_are_paths_outside_the_folder_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "logs", {"mine": samples(3)}, model="../../up")
    assert list(imported(tmp_path / "logs", tmp_path / "out", language="de")) == [
        "up/mine/texts-0shot/de.parquet"
    ]
    for option in ("model", "benchmark"):
        message = refused(tmp_path / "logs", tmp_path / "no", language="de", **{option: "../up"})
        assert message.startswith(f"--{option}: '../up' must contain only letters")


def test_wrong_results_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "logs", {"xcopa_et": samples(3)})
    path = run / f"results_{TIME}.json"
    path.write_text(json.dumps({"config": ["hf"]}))
    assert f"{path}: config is ['hf']; must be an object" in refused(tmp_path / "logs", tmp_path / "out")
    path.write_text(json.dumps({"config": {"model_args": 3}, "n-samples": {"xcopa_et": 3}}))
    assert list(imported(tmp_path / "logs", tmp_path / "out")) == ["lab__model/xcopa/texts/et.parquet"]


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "logs", {"belebele_deu_Latn": samples(3)})
    (run / FILE).unlink()
    (run / FILE).symlink_to(run / "loop")
    (run / "loop").symlink_to(run / FILE)
    assert "contains no log" in refused(tmp_path / "logs", tmp_path / "out")
    (run / "loop").unlink()
    (run / FILE).unlink()
    write_lines(run / FILE, samples(3))
    original_open = Path.open

    def failing(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == run / FILE:
            raise PermissionError(13, "Permission denied")
        return original_open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", failing)
    assert f"{run / FILE}: cannot be read (Permission denied)" in refused(tmp_path / "logs", tmp_path / "out")


def test_rounding_that_changes_an_answer_is_counted(tmp_path: Path) -> None:
    near = [-1.0, np.nextafter(np.float64(-1.0), 0), -3.0]
    write_run(tmp_path / "logs", {"xcopa_et": [sample(0, ["a", "b", "c"], near, "b", acc=1.0)]})
    [path] = imported(tmp_path / "logs", tmp_path / "out").values()
    assert records.metadata(path)["origin"]["changed_by_rounding"] == 1


def test_lines_of_another_filter_are_not_counted_twice(tmp_path: Path) -> None:
    lines = samples(3)
    doubled = [*lines, *({**line, "filter": "other"} for line in lines)]
    run = write_run(tmp_path / "logs", {"belebele_deu_Latn": doubled})
    write_run(tmp_path / "logs", {"xcopa_et": lines})
    results = json.loads((run / f"results_{TIME}.json").read_text())
    assert results["n-samples"] == {"xcopa_et": {"original": 99, "effective": 3}}
    [_, path] = imported(tmp_path / "logs", tmp_path / "out").values()
    assert len(rows(path)) == 3
    assert harness_logs.TIME in records.metadata(path)["origin"]["logs"][0]["file"]
