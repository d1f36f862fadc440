"""The stage ``cluster``: which answers are in one cluster, and the record."""

import pytest
from helpers import entailment as constructed
from helpers import generations
from helpers.stamps import FixedStamp

from polycal.artifacts import cluster_records, open_records, records
from polycal.artifacts.records import RecordError
from polycal.scoring import clusters


class Judge:
    """Says that a text entails another if it has all words of the other. It remembers the pairs."""

    def __init__(self):
        self.asked = []

    def __call__(self, pairs):
        self.asked += pairs
        return [set(second.split()) <= set(first.split()) for first, second in pairs]


def clustered(greedy, *samples, language="en"):
    """The clusters of the answers to one question, and the pairs that were compared."""
    judge = Judge()
    row = {"question_id": "q", "greedy": greedy, "samples": list(samples)}
    [found] = clusters.cluster_rows([row], ["Q?"], language, judge)
    return [found["greedy"], *found["samples"]], judge.asked


def test_answers_that_entail_each_other_are_together():
    assert clustered("new york", "york new", "boston", "york new york")[0] == [0, 0, 1, 0]


def test_one_way_is_not_enough():
    assert clustered("paris", "paris france", "france paris")[0] == [0, 1, 1]


def test_an_answer_joins_the_first_cluster_whose_first_answer_means_the_same():
    mutual = {("a", "b"), ("b", "c")}
    said = {(f"Q {one}", f"Q {other}") for pair in mutual for one, other in (pair, pair[::-1])}
    judge = lambda pairs: [pair in said for pair in pairs]  # noqa: E731
    assert clusters.greedy_clusters(["Q"], [["a", "b", "c"]], judge) == [[0, 0, 1]]
    assert clusters.greedy_clusters(["Q"], [["b", "a", "c"]], judge) == [[0, 0, 0]]
    assert clusters.greedy_clusters(["Q", "Q", "Q"], [["a", "c", "b"], [], ["c"]], judge) == [
        [0, 1, 0],
        [],
        [0],
    ]


def test_only_different_answers_are_compared_and_each_after_its_question():
    found, asked = clustered("Paris", "paris.", "The Rome", "rome", "PARIS")
    assert found == [0, 0, 1, 1, 0]
    assert asked == [("Q? The Rome", "Q? Paris")]


def test_empty_answers_are_one_cluster_and_are_compared_with_nothing():
    assert clustered("", "a", "", "\u200b") == ([0, 1, 0, 0], [])
    assert clustered("a", "", "b", "")[0] == [0, 1, 2, 1]
    assert clustered("", "") == ([0, 0], [])


def test_questions_do_not_change_each_others_clusters():
    rows = [
        {"question_id": f"q{n}", "greedy": greedy, "samples": samples}
        for n, (greedy, samples) in enumerate(
            [("a b", ["b a", "c"]), ("c", ["a b", "c d", "d c"]), ("", ["x"])]
        )
    ]
    together = clusters.cluster_rows(rows, ["Q?"] * 3, "en", Judge())
    alone = [clusters.cluster_rows([row], ["Q?"], "en", Judge())[0] for row in rows]
    assert together == alone


@pytest.fixture
def files(tmp_path):
    """Questions, one of which begins with the word that entails, and answers to them."""
    questions = [
        {"question_id": f"q{n}", "group": "g", "question": f"{word} ?", "answers": ["a"], "split": "test"}
        for n, word in enumerate(("yes", "no"))
    ]
    records.write(tmp_path / "q.parquet", questions, open_records.OPEN_QUESTION)
    rows = [generations.row(f"q{n}", "a", ["b", "c", "a", ""], right=True) for n in range(2)]
    return tmp_path / "q.parquet", generations.write(tmp_path / "g.parquet", rows)


def run(tmp_path, questions, answers):
    cell = {
        **generations.cell(),
        "stage": "cluster",
        "entailment": "e",
        "settings": {"dtype": "float32", "attention": "eager"},
    }
    clusters.cluster(
        [cell],
        entailment=constructed.save(tmp_path / "model"),
        questions=[questions],
        generations=[answers],
        out=[tmp_path / "clusters.parquet"],
        stamps=[FixedStamp()],
    )
    return tmp_path / "clusters.parquet"


def test_the_record_has_the_clusters_and_how_many_pairs_were_compared(tmp_path, files):
    out = run(tmp_path, *files)
    assert cluster_records.read_clusters(out).to_pylist() == [
        {"question_id": "q0", "greedy": 0, "samples": [0, 0, 0, 1], "texts": 3},
        {"question_id": "q1", "greedy": 0, "samples": [1, 2, 0, 3], "texts": 3},
    ]
    facts = records.metadata(out)
    # Of "yes", b and c are compared with a both ways; of "no", b with a, and c with a and b, one way each.
    assert (facts["questions"], facts["texts"], facts["pairs"], facts["pairs_cut"]) == (2, 6, 4 + 3, 0)
    assert facts["cell"]["entailment"] == "e"


def test_answers_to_other_questions_are_refused(tmp_path, files):
    other = generations.write(tmp_path / "other.parquet", [generations.row("q9", "a", ["b"], right=True)])
    with pytest.raises(RecordError, match=r"answers the question 'q9', which .*q\.parquet does not contain"):
        run(tmp_path, files[0], other)
