import pytest
import torch
from helpers import models

from polycal.analysis import score_arrays
from polycal.artifacts import checkpoints, records
from polycal.scoring import log_likelihoods, multiple_choice, prompts, token_trees

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
            ("Quoi ?", ["un", "deux"], "examples"),
            ("谁？", ["我", "你"], "examples"),
            ("من؟", ["أنا", "هو"], "examples"),
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
    settings = {"candidates": candidates, "num_fewshot": shots, "dtype": "float32", "attention": attention}
    return {"stage": "score", "model": "tiny", "language": "xx", "settings": settings}


def scored(folder, questions, out, candidates, shots, budget, attention="eager"):
    one = cell(candidates, shots, attention)
    multiple_choice.score(
        [one],
        checkpoint=checkpoints.read(folder),
        questions=[questions],
        out=[out],
        notes=[{}],
        token_budget=budget,
    )
    return records.read_scores(out).to_pylist()


def reference(folder, one):
    """One candidate, one sequence, float64, all logits."""
    model, tokenizer = multiple_choice.load(folder, "float64", "eager", "cpu")
    values = []
    for text in one.candidates:
        before, whole = tokenizer(one.prefix)["input_ids"], tokenizer(one.prefix + text)["input_ids"]
        with torch.no_grad():
            logp = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        values.append(sum(float(logp[place - 1, whole[place]]) for place in range(len(before), len(whole))))
    return values


@pytest.mark.parametrize("shots", [0, 5])
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
    for name in ("questions_per_second", "tokens_per_second", "peak_memory_bytes"):
        assert said[name] > 0
    assert 0 < said["forward_fraction"] <= 1
    assert records.UNCONDITIONAL not in rows[0]


@pytest.mark.parametrize("chat", [None, "tulu"])
def test_candidates_behind_a_neutral_context(folders, questions, tmp_path, chat):
    one = cell("texts", 0) | {key: "none" for key in score_arrays.CELL if key not in ("model", "language")}
    one["settings"] |= {"pmi": True, "chat_template": chat}
    checkpoint = checkpoints.read(folders["llama"])
    multiple_choice.score(
        [one], checkpoint=checkpoint, questions=[questions], out=[tmp_path / "s"], notes=[{}]
    )
    found = records.read_scores(tmp_path / "s").to_pylist()
    assert records.metadata(tmp_path / "s")["unconditional"]["candidates"] == 9
    context = prompts.neutral(chat_template=chat)
    assert context == ("Answer:" if chat is None else "<|user|>\nAnswer:\n<|assistant|>\n")
    for row, question in zip(found, ROWS[:4], strict=True):
        asked = prompts.prompt(question, [], "texts", chat_template=chat)
        expected = reference(folders["llama"], prompts.Prompt((), context, asked.candidates))
        assert row[records.UNCONDITIONAL] == pytest.approx(expected, abs=1e-4)
        assert row["option_logprob"] == pytest.approx(reference(folders["llama"], asked), abs=1e-4)
    assert found[2][records.UNCONDITIONAL][0] == found[2][records.UNCONDITIONAL][2]
    assert "pmi" in score_arrays.read(tmp_path / "s").normalisations(["sum"])


def test_a_chat_format_puts_all_into_one_turn():
    asked = prompts.prompt(ROWS[0], ROWS[4:5], "letters", chat_template="tulu")
    assert asked.prefix == (
        "<|user|>\nOne and one?\nA. two\nB. three\nAnswer: A\n\nWhat is it?\nA. tree\nB. a tree in the yard\n"
        "C. no\nAnswer:\n<|assistant|>\n"
    )
    assert asked.candidates == ("A", "B", "C")
    room = max(len(models.tokenizer()(asked.prefix + text)["input_ids"]) for text in asked.candidates) - 1
    found, kept, cut = multiple_choice.candidates_of(models.tokenizer(), [asked], room)
    assert (kept, cut) == ([""], 1)
    assert models.tokenizer().decode(found[0].tokens[1:]).startswith("<|user|>\nWhat is it?")
    with pytest.raises(prompts.PromptError, match="chat_template 'tolu' does not exist; known: tulu"):
        prompts.prompt(ROWS[0], [], "letters", chat_template="tolu")


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_model_in_parts_scores_the_same(folders, questions, tmp_path, monkeypatch, architecture):
    whole = scored(folders[architecture], questions, tmp_path / "a", "texts", 5, 300)
    rest = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")
    parts = {"model.layers.1": "disk", **dict.fromkeys(rest, "cpu")}
    real = multiple_choice.load
    monkeypatch.setattr(multiple_choice, "load", lambda *words: real(*words[:3], parts))
    split = scored(folders[architecture], questions, tmp_path / "b", "texts", 5, 300)
    for a, b in zip(whole, split, strict=True):
        assert a["option_logprob"] == pytest.approx(b["option_logprob"], abs=1e-5)


def test_a_model_too_large_for_a_gpu_is_spread(folders, monkeypatch):
    assert multiple_choice.place(folders["llama"], "float32") == (
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    size = (folders["llama"] / "model.safetensors").stat().st_size
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for free, where in ((2 * size, "cuda"), (size, "auto")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, free))
        assert multiple_choice.place(folders["llama"], "float32") == where
    assert multiple_choice.place(folders["llama"], "bfloat16") == "cuda"


def test_examples_are_cut_whole_and_counted():
    asked = prompts.prompt(ROWS[0], ROWS[4:6], "texts")
    tokenizer = models.tokenizer()
    room = max(len(tokenizer(asked.examples[1] + asked.question + c)["input_ids"]) for c in asked.candidates)
    found, kept, cut = multiple_choice.candidates_of(tokenizer, [asked], room)
    assert kept == [asked.examples[1]]
    assert cut == 1
    assert (
        tokenizer.decode(list(found[0].tokens[1:]))
        == asked.examples[1] + asked.question + asked.candidates[0]
    )
    with pytest.raises(multiple_choice.ScoringError, match="window holds 10"):
        multiple_choice.candidates_of(tokenizer, [asked], 10)


def test_an_empty_candidate_is_refused():
    with pytest.raises(multiple_choice.ScoringError, match="option 1: nothing to score"):
        multiple_choice.candidates_of(models.tokenizer(), [prompts.Prompt((), "Why?", (" a", ""))], 99)


def test_a_tokenizer_without_bos_scores_the_same_tokens():
    for bos in (True, False):
        (tokens,), start = multiple_choice.tokenize(models.tokenizer(bos), "ab", [" c"])
        assert (len(tokens) - start, start) == (2, 2 + bos)


def tree(*texts, start=1, question=0):
    return token_trees.grow([token_trees.Candidate(question, n, list(t), start) for n, t in enumerate(texts)])


def test_batches_hold_every_row_once_under_the_budget():
    trees = [tree(range(3 + n % 7), question=n) for n in range(40)]
    lengths = [len(one) for one in trees]
    made = list(token_trees.batches(lengths, 20))
    assert sorted(row for batch in made for row in batch) == list(range(40))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 20 for batch in made)


def test_what_candidates_share_stands_once_in_their_tree():
    grown = tree((1, 2, 7), (1, 2, 8), (1, 2, 7, 9), (1, 2, 8, 3, 4), start=2)
    assert grown.tokens.tolist() == [1, 2, 7, 8, 3]
    assert grown.depth.tolist() == [0, 1, 2, 2, 3]
    assert grown.end.tolist() == [5, 5, 3, 5, 5]
    read = sorted((r.option, r.node, r.token) for r in grown.reads)
    assert read == [(0, 1, 7), (1, 1, 8), (2, 1, 7), (2, 2, 9), (3, 1, 8), (3, 3, 3), (3, 4, 4)]
    assert not grown.straight
    assert tree((1, 2, 7), (1, 2, 8), start=2).straight


def test_chains_never_branch_and_read_every_candidate_once():
    texts = [(1, 2, 7), (1, 2, 8), (1, 2, 7, 9), (1, 2, 8, 3, 4)]
    made = token_trees.chains([token_trees.Candidate(0, n, list(t), 2) for n, t in enumerate(texts)])
    assert all(one.straight for one in made)
    assert sorted(len(one) for one in made) == [3, 4]
    assert sorted(r.option for one in made for r in one.reads) == [0, 1, 2, 2, 3, 3, 3]


def test_a_trunk_ends_where_something_branches_differs_or_is_read():
    long = tuple(range(40))
    assert token_trees.trunk([tree((*long, 50, 60), start=41), tree((*long, 51, 60), start=41)]) == 40
    assert token_trees.trunk([tree((*long, 50), start=30), tree((*long, 51), start=40)]) == 29
    branching = tree((*long[:10], 98, 1, 1), (*long[:10], 99, 1, 1), start=12)
    assert token_trees.trunk([branching, tree((*long, 50), start=40)]) == 10


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_examples_of_a_group_are_processed_once_and_change_nothing(
    folders, questions, tmp_path, architecture, monkeypatch
):
    passes = []
    made = log_likelihoods.Beginning.__init__
    monkeypatch.setattr(
        log_likelihoods.Beginning,
        "__init__",
        lambda self, model, tokens: (passes.append(len(tokens)), made(self, model, tokens))[1],
    )
    attention = "eager" if architecture == "gemma2" else "sdpa"
    shared = scored(folders[architecture], questions, tmp_path / "s", "texts", 2, None, attention)
    assert len(passes) == 1
    assert passes[0] > token_trees.WORTH_SHARING
    monkeypatch.setattr(log_likelihoods, "branching", lambda model: False)
    plain = scored(folders[architecture], questions, tmp_path / "p", "texts", 2, None, attention)
    assert len(passes) == 1
    for a, b in zip(shared, plain, strict=True):
        assert a["option_logprob"] == pytest.approx(b["option_logprob"], abs=1e-4)
        assert a["option_tokens"] == b["option_tokens"]
    less, more = (records.metadata(tmp_path / name)["tokens"] for name in "sp")
    assert less < more / 2


@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-6), ("float64", 1e-14), ("bfloat16", 4e-3)])
@pytest.mark.parametrize("shots", [0, 2])
def test_trees_in_one_row_give_what_padded_rows_give(folders, questions, monkeypatch, dtype, near, shots):
    model, tokenizer = multiple_choice.load(folders["llama"], dtype, "sdpa", "cpu")
    _, asked = multiple_choice.ask(cell("texts", shots), questions)
    ways = []
    for name in ("in_one_row", "padded"):
        real = getattr(log_likelihoods, name)

        def noted(*words, name=name, real=real):
            ways.append(name)
            return real(*words)

        monkeypatch.setattr(log_likelihoods, name, noted)
    dense = multiple_choice.answer(model, tokenizer, asked, 300)
    assert set(ways) == {"in_one_row"}
    ways.clear()
    monkeypatch.setattr(log_likelihoods, "unpadded", lambda *words: False)
    rows = multiple_choice.answer(model, tokenizer, asked, 300)
    assert set(ways) == {"padded"}
    assert model.config._attn_implementation == "sdpa"
    for a, b in zip(dense.logprob, rows.logprob, strict=True):
        assert a == pytest.approx(b, rel=near)


def test_attention_that_does_not_reach_over_a_path_is_masked(folders):
    batch = [tree(range(1, 12), start=5)]
    for architecture, attention, exact in (
        ("llama", "sdpa", True),
        ("llama", "eager", False),
        ("mistral", "sdpa", True),
        ("gemma2", "eager", False),
    ):
        model, _ = multiple_choice.load(folders[architecture], "float32", attention, "cpu")
        assert log_likelihoods.unpadded(model, batch) is exact
    mistral, _ = multiple_choice.load(folders["mistral"], "float32", "sdpa", "cpu")
    # a window of 16 reaches from the sixteenth node to the first, and from the seventeenth no more
    assert log_likelihoods.unpadded(mistral, [tree(range(17))])
    assert not log_likelihoods.unpadded(mistral, [tree(range(18))])


def test_the_budget_halves_when_memory_runs_out(folders, questions, tmp_path, monkeypatch):
    right = scored(folders["llama"], questions, tmp_path / "a", "texts", 0, 2048)
    real, sizes = log_likelihoods.log_likelihoods, []

    def scarce(model, batch, beginning=None):
        sizes.append(len(batch) * max(map(len, batch)))
        if sizes[-1] > 150:
            raise torch.OutOfMemoryError("full")
        return real(model, batch, beginning)

    monkeypatch.setattr(log_likelihoods, "log_likelihoods", scarce)
    left = scored(folders["llama"], questions, tmp_path / "b", "texts", 0, 2048)
    assert sizes[0] > 150 >= sizes[-1]
    assert records.metadata(tmp_path / "b")["token_budget"] < 2048
    for a, b in zip(right, left, strict=True):
        assert a["option_logprob"] == pytest.approx(b["option_logprob"], abs=1e-4)


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
        prompts.examples_of(ROWS[4:6], "g", 5)
    many = {**ROWS[0], "options": [str(n) for n in range(11)]}
    with pytest.raises(prompts.PromptError, match="11 options"):
        prompts.ask(many, "letters")
