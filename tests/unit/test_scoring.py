import models
import pytest
import torch

from polycal import prompts, records, scoring

ROWS = [
    {
        "question_id": f"q{number}",
        "group": "g",
        "question": text,
        "options": options,
        "gold": 0,
        "split": split,
    }
    for number, (text, options, split) in enumerate(
        [
            ("What is it?", ["tree", "a tree in the yard", "no"], "test"),
            ("这是什么？", ["树", "房子"], "test"),
            ("ما هذا؟", ["شجرة", "بيت", "شجرة"], "test"),
            ("यह क्या है? ọ̀rọ̀", ["पेड़", "घर"], "test"),
            ("One and one?", ["two", "three"], "examples"),
            ("Two and two?", ["four", "five"], "examples"),
        ]
    )
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    return {name: models.save(name, base / name) for name in models.ARCHITECTURES}


@pytest.fixture
def questions(tmp_path):
    records.write(tmp_path / "questions.parquet", ROWS, records.QUESTION)
    return tmp_path / "questions.parquet"


def cell(candidates, shots, attention="eager"):
    settings = {"candidates": candidates, "shots": shots, "dtype": "float32", "attention": attention}
    return {"stage": "score", "model": "tiny", "language": "xx", "settings": settings}


def scored(folder, questions, out, candidates, shots, budget, attention="eager"):
    one = cell(candidates, shots, attention)
    scoring.score([one], model=folder, questions=[questions], out=[out], notes=[{}], token_budget=budget)
    return records.read_scores(out).to_pylist()


def reference(folder, one):
    """One candidate, one sequence, float64, all logits."""
    model, tokenizer = scoring.load(folder, "float64", "eager", "cpu")
    values = []
    for text in one.candidates:
        before, whole = tokenizer(one.prefix)["input_ids"], tokenizer(one.prefix + text)["input_ids"]
        with torch.no_grad():
            logp = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        values.append(sum(float(logp[place - 1, whole[place]]) for place in range(len(before), len(whole))))
    return values


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("candidates", ["letters", "texts"])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_log_likelihoods_against_float64(folders, questions, tmp_path, architecture, candidates, shots):
    attention = "eager" if architecture == "gemma2" else "sdpa"
    tests, pool = ROWS[:4], ROWS[4:]
    for budget in (1, 300, 10**6):
        found = scored(folders[architecture], questions, tmp_path / "s", candidates, shots, budget, attention)
        for row, question in zip(found, tests, strict=True):
            asked = prompts.prompt(question, prompts.examples_of(pool, "g", shots), candidates)
            assert row["option_logprob"] == pytest.approx(reference(folders[architecture], asked), abs=1e-4)


def test_the_record_says_how_it_was_made(folders, questions, tmp_path):
    rows = scored(folders["llama"], questions, tmp_path / "s", "texts", 0, 4096)
    said = records.metadata(tmp_path / "s")
    assert rows[0]["option_tokens"] == [5, 19, 3]
    assert rows[0]["option_bytes"] == [4, 18, 2]
    assert rows[1]["option_bytes"] == [3, 6]
    assert (said["questions"], said["equal_candidates"], said["prompts_cut"]) == (4, 1, 0)
    assert rows[2]["option_logprob"][0] == pytest.approx(rows[2]["option_logprob"][2], abs=1e-5)
    assert said["cell"]["settings"]["candidates"] == "texts"


def test_examples_are_cut_whole_and_counted():
    asked = prompts.prompt(ROWS[0], ROWS[4:], "texts")
    tokenizer = models.tokenizer()
    room = max(len(tokenizer(asked.examples[1] + asked.question + c)["input_ids"]) for c in asked.candidates)
    found, cut = scoring.candidates_of(tokenizer, [asked], room)
    assert cut == 1
    assert tokenizer.decode(found[0].tokens[1:]) == asked.examples[1] + asked.question + asked.candidates[0]
    with pytest.raises(scoring.ScoringError, match="window holds 10"):
        scoring.candidates_of(tokenizer, [asked], 10)


def test_an_empty_candidate_is_refused():
    with pytest.raises(scoring.ScoringError, match="option 1: nothing to score"):
        scoring.candidates_of(models.tokenizer(), [prompts.Prompt((), "Why?", (" a", ""))], 99)


def test_a_tokenizer_without_bos_scores_the_same_tokens():
    for bos in (True, False):
        tokens, start = scoring.tokenize(models.tokenizer(bos), "ab", " c")
        assert (len(tokens) - start, start) == (2, 2 + bos)


def test_batches_hold_every_sequence_once_under_the_budget():
    found = [scoring.Candidate(n, 0, tuple(range(3 + n % 7)), 1) for n in range(40)]
    made = list(scoring.batches(scoring.shared(found), 20))
    assert sorted(c.question for batch in made for row in batch for c in row.candidates) == list(range(40))
    assert all(len(batch) == 1 or len(batch) * max(len(r.tokens) for r in batch) <= 20 for batch in made)


def test_candidates_whose_input_begins_anothers_share_its_sequence():
    texts = [(1, 2, 7), (1, 2, 8), (1, 2, 7, 9), (1, 2, 8, 3, 4)]
    rows = scoring.shared([scoring.Candidate(0, n, tokens, 2) for n, tokens in enumerate(texts)])
    shared = {row.tokens: sorted(c.option for c in row.candidates) for row in rows}
    # the prompt alone is a prefix of the longest; (1, 2, 7) is not
    assert shared == {(1, 2, 8, 3): [0, 1, 3], (1, 2, 7): [2]}


def test_the_wording_of_a_prompt_is_fixed():
    assert prompts.VERSION == "1"
    shown = prompts.prompt(ROWS[0], [ROWS[4]], "letters")
    assert shown.prefix == (
        "One and one?\nA. two\nB. three\nAnswer: A\n\nWhat is it?\nA. tree\nB. a tree in the yard\nC. no\nAnswer:"
    )
    assert shown.candidates == (" A", " B", " C")
    assert prompts.prompt(ROWS[1], [], "texts") == prompts.Prompt((), "这是什么？\nAnswer:", (" 树", " 房子"))


def test_too_few_examples_and_too_many_options_are_named():
    with pytest.raises(prompts.PromptError, match="has 2 examples, but 5"):
        prompts.examples_of(ROWS[4:], "g", 5)
    many = {**ROWS[0], "options": [str(n) for n in range(11)]}
    with pytest.raises(prompts.PromptError, match="11 options"):
        prompts.ask(many, "letters")
