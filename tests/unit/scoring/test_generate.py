"""The stage ``generate``: batches, answers, ends, resuming and the record, on tiny models."""

import numpy as np
import pytest
import torch
from helpers import bigram
from helpers import models as tiny
from helpers.stamps import FixedStamp

from polycal.artifacts import open_records, records
from polycal.artifacts.records import RecordError
from polycal.scoring import (
    answer_batches,
    answer_generation,
    generate,
    generation_check,
    models,
    open_prompts,
    prompts,
    true_or_false,
)
from polycal.scoring.answer_ends import AnswerEnds
from polycal.scoring.answer_generation import Sampling
from polycal.scoring.candidate_scores import score_candidates
from polycal.scoring.candidates import ScoringError
from polycal.scoring.prompts import PromptError
from polycal.scoring.token_choice import uniform_numbers

SETTINGS = {
    "num_fewshot": 0, "prompt_language": "english", "chat_template": None, "max_new_tokens": 6, "samples": 3,
    "temperature": "0.8", "top_p": "0.95", "seed": "0", "dtype": "float32", "attention": "eager",
}  # fmt: skip
TEXTS = ["hi", "What is the capital of France?\nAnswer:", "abc " * 20, "x", "ما هو أكبر محيط؟\nAnswer:"]


def cell(**settings):
    named = {"model": "m", "data": "none", "benchmark": "b", "language": "en"}
    return {"stage": "generate", **named, "settings": {**SETTINGS, **settings}}


def write_questions(path, answers=("a",), count=8, examples=0):
    rows = [
        {
            "question_id": f"q{n}",
            "group": "g",
            "question": "word " * (n % 3) + f"{n}?",
            "answers": list(answers),
            "split": "test",
        }
        for n in range(count)
    ]
    rows += [
        {
            "question_id": f"e{n}",
            "group": "g",
            "question": f"e{n}?",
            "answers": [f"x{n}"],
            "split": "examples",
        }
        for n in range(examples)
    ]
    records.write(path, rows, open_records.OPEN_QUESTION)
    return path


def run(folder, questions, out, rows=None, fingerprint="f" * 64, **settings):
    generate.generate(
        [cell(**settings)],
        model=folder,
        questions=[questions],
        out=[out],
        stamps=[FixedStamp(fingerprint=fingerprint)],
        rows=rows,
    )
    return open_records.read_generations(out).to_pylist()


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def network(request, tmp_path_factory):
    return models.load(tiny.save(request.param, tmp_path_factory.mktemp("model")), "float32", "eager", "cpu")


@pytest.fixture(scope="module")
def sure(tmp_path_factory):
    """After a colon, it writes a with probability 0.7 and b with 0.3, and then a line break."""
    return bigram.save(tmp_path_factory.mktemp("sure"), {":": {"a": 0.7, "b": 0.3}})


def test_answers_are_the_same_alone_in_any_batch_and_by_any_path(network):
    model, tokenizer = network
    ends, rows = AnswerEnds(tokenizer, model), tokenizer(TEXTS)["input_ids"]
    uniform = np.stack([uniform_numbers(0, str(n), 3, 12) for n in range(len(rows))])
    sampling = Sampling(0.7, 0.9)

    def answers(numbers, path):
        made = answer_generation.generate(
            model, [rows[n] for n in numbers], uniform[numbers], ends.ids, 0, sampling, path
        )
        return [[ends.cut(tokens) for tokens in of_prompt] for of_prompt in made.tokens.tolist()], made

    alone = [answers([n], "single")[0][0] for n in range(len(rows))]
    for path in ("fast", "plain"):
        together, made = answers(list(range(len(rows))), path)
        assert together == alone
        assert [answers([n], path)[0][0] for n in range(len(rows))] == alone
        assert answers([4, 1, 2], path)[0] == [alone[4], alone[1], alone[2]]
    # the sampled answers differ from each other and from the greedy one
    assert len({one.text for one in alone[1]}) > 1
    # greedy answers are those of transformers alone
    for number, row in enumerate(rows):
        own = model.generate(
            torch.tensor([row]), max_new_tokens=12, do_sample=False, eos_token_id=ends.ids, pad_token_id=0
        )
        assert ends.cut(own[0, len(row) :].tolist()) == alone[number][0]
    # log-probabilities are those of one forward pass
    for number, row in enumerate(rows):
        for answer in range(4):
            kept = alone[number][answer].chosen
            tokens = made.tokens[number, answer, :kept].tolist()
            with torch.inference_mode():
                log_p = model(torch.tensor([[*row, *tokens]])).logits[0].log_softmax(-1)
            expected = log_p[len(row) - 1 : -1].gather(1, torch.tensor(tokens)[:, None])[:, 0].numpy()
            assert made.logprob[number, answer, :kept] == pytest.approx(expected, abs=1e-4)


def test_the_check_finds_a_path_that_is_not_exact(network, monkeypatch):
    model, tokenizer = network
    rows = tokenizer(TEXTS)["input_ids"]
    assert generation_check.check(model, rows, 0).path == "fast"
    right = answer_generation._prompt_cache

    def wrong(*arguments):
        cache = right(*arguments)
        cache.layers[0].keys = cache.layers[0].keys + 0.3
        return cache

    monkeypatch.setattr(answer_generation, "_prompt_cache", wrong)
    check = generation_check.check(model, rows, 0)
    assert check.path == "plain"
    assert "differs by" in check.because["fast"]


def test_settings_saved_with_a_model_change_no_answer(network):
    model, tokenizer = network
    rows, uniform = tokenizer(TEXTS[:2])["input_ids"], np.full((2, 1, 8), np.nan)
    before = answer_generation.generate(model, rows, uniform, [2], 0).tokens
    saved = model.generation_config
    model.generation_config = type(saved)(repetition_penalty=5.0, do_sample=True, temperature=3.0)
    after = answer_generation.generate(model, rows, uniform, [2], 0).tokens
    assert model.generation_config.repetition_penalty == 5.0
    model.generation_config = saved
    assert np.array_equal(before, after)


def test_a_model_with_known_probabilities_is_recovered(sure, tmp_path):
    questions = write_questions(tmp_path / "q.parquet", count=40)
    found = run(sure, questions, tmp_path / "g.parquet", samples=50, temperature="1", top_p="1")
    assert {row["greedy"] for row in found} == {"a"}
    assert {row["greedy_tokens"] for row in found} == {1}
    assert all(row["greedy_logprob"] == pytest.approx(np.log(0.7), abs=1e-4) for row in found)
    assert not any(row["greedy_cut"] or any(row["sample_cut"]) for row in found)
    every = [text for row in found for text in row["samples"]]
    assert set(every) == {"a", "b"}
    assert abs(every.count("a") / len(every) - 0.7) < 4 * np.sqrt(0.21 / len(every))
    by_text = {text: np.log(p) for text, p in (("a", 0.7), ("b", 0.3))}
    for row in found:
        expected = [by_text[text] for text in row["samples"]]
        assert row["sample_logprob"] == pytest.approx(expected, abs=1e-4)
    # other questions have other samples, and equal seeds the same ones
    assert len({tuple(row["samples"]) for row in found}) == 40
    again = run(sure, questions, tmp_path / "again.parquet", rows=60, samples=50, temperature="1", top_p="1")
    assert again == found
    other = run(sure, questions, tmp_path / "other.parquet", samples=50, temperature="1", top_p="1", seed="1")
    assert [row["samples"] for row in other] != [row["samples"] for row in found]


def test_temperature_near_zero_samples_the_greedy_answer(sure, tmp_path):
    questions = write_questions(tmp_path / "q.parquet")
    found = run(sure, questions, tmp_path / "g.parquet", temperature="0.01")
    assert {text for row in found for text in row["samples"]} == {"a"}


def test_empty_and_cut_answers_are_counted(tmp_path):
    questions = write_questions(tmp_path / "q.parquet", count=3)
    silent = bigram.save(tmp_path / "silent", {":": {"\n": 0.9, "a": 0.1}})
    found = run(silent, questions, tmp_path / "g.parquet")
    assert [(row["greedy"], row["greedy_tokens"], row["greedy_cut"]) for row in found] == [("", 1, False)] * 3
    assert all(row["greedy_logprob"] == pytest.approx(np.log(0.9), abs=1e-4) for row in found)
    facts = records.metadata(tmp_path / "g.parquet")
    assert (facts["empty"], facts["cut"], facts["near_ties"]) == (3, 0, 0)
    endless = bigram.save(
        tmp_path / "endless", {":": {"a": 1.0}, "a": {"b": 0.50001, "a": 0.49999}, "b": {"a": 1.0}}
    )
    found = run(endless, questions, tmp_path / "h.parquet")
    assert [(row["greedy"], row["greedy_tokens"], row["greedy_cut"]) for row in found] == [
        ("ababab", 6, True)
    ] * 3
    assert [row["near_ties"] for row in found] == [3, 3, 3]
    facts = records.metadata(tmp_path / "h.parquet")
    assert (facts["empty"], facts["cut"], facts["near_ties"]) == (0, 3, 3)


def test_an_answer_is_the_text_before_its_end(network):
    model, tokenizer = network
    ends = AnswerEnds(tokenizer, model)

    def cut(text):
        return ends.cut(tokenizer(text, add_special_tokens=False)["input_ids"])

    assert cut(" Paris\nQuestion") == (("Paris", 6, 7, False))
    assert cut(" Paris</s>more") == (("Paris", 6, 7, False))
    assert cut("Paris") == (("Paris", 5, 5, True))
    assert cut("\nParis") == (("", 1, 1, False))


def test_a_stopped_run_continues_and_gives_the_same_record(sure, tmp_path, monkeypatch):
    questions, out = write_questions(tmp_path / "q.parquet", count=9), tmp_path / "g.parquet"
    whole = run(sure, questions, tmp_path / "whole.parquet", rows=8)
    right, calls = answer_batches.AnswerBatches._batch, []

    def stops(self, question_ids, tokens):
        calls.append(list(question_ids))
        if len(calls) == 3 and not out.exists():
            raise KeyboardInterrupt
        return right(self, question_ids, tokens)

    monkeypatch.setattr(answer_batches.AnswerBatches, "_batch", stops)
    with pytest.raises(KeyboardInterrupt):
        run(sure, questions, out, rows=8)
    [unfinished] = tmp_path.glob(".unfinished-*")
    assert not out.exists()
    of_other_settings = tmp_path / f".unfinished-{'e' * 16}.jsonl"
    of_other_settings.write_bytes(unfinished.read_bytes())
    with unfinished.open("a") as file:
        file.write('{"question_id": "q0", "greedy": "a hal')  # a killed attempt
    assert run(sure, questions, out, rows=8) == whole
    assert records.metadata(out)["resumed"] == 4
    assert list(tmp_path.glob(".unfinished-*")) == [of_other_settings]
    done = [name for batch in calls[:2] for name in batch]
    assert not set(done) & {name for batch in calls[3:] for name in batch}
    # answers of other settings are not used
    calls.clear()
    run(sure, questions, tmp_path / "other.parquet", rows=8)
    assert sum(len(batch) for batch in calls) == 9


def test_a_batch_that_does_not_fit_is_halved(sure, tmp_path, monkeypatch):
    questions = write_questions(tmp_path / "q.parquet", count=9)
    whole = run(sure, questions, tmp_path / "whole.parquet")
    right = answer_generation.generate

    def narrow(model, tokens, *arguments, **named):
        if len(tokens) > 3:
            raise torch.OutOfMemoryError("full")
        return right(model, tokens, *arguments, **named)

    monkeypatch.setattr(answer_generation, "generate", narrow)
    assert run(sure, questions, tmp_path / "g.parquet") == whole


def test_p_true_is_that_of_the_scorer(sure, tmp_path):
    questions = write_questions(tmp_path / "q.parquet", count=2, examples=4)
    found = run(sure, questions, tmp_path / "g.parquet", num_fewshot=4)
    asked = open_prompts.read(cell(num_fewshot=4), questions)
    proposals = [asked.whether_true(row, "a") for row in asked.rows]
    model, tokenizer = models.load(sure, "float32", "eager", "cpu")
    for row, logprob in zip(found, score_candidates(model, tokenizer, proposals).logprob, strict=True):
        [log_p], spread = true_or_false.p_true(logprob)
        assert row["p_true"] == pytest.approx(np.exp(log_p), abs=1e-5)
        assert row["p_true_spread"] == pytest.approx(spread, abs=1e-5)
    # every second example proposes the answer of the next one
    assert "Proposed answer: x0\n" in proposals[0].prefix
    assert "e1?\nProposed answer: x2\n" in proposals[0].prefix


def test_prompts_show_examples_with_their_first_answer(tmp_path):
    questions = write_questions(tmp_path / "q.parquet", count=1, examples=2)
    asked = open_prompts.read(cell(num_fewshot=2), questions)
    assert asked.prompt(asked.rows[0]).prefix == "e0?\nAnswer: x0\n\ne1?\nAnswer: x1\n\n0?\nAnswer:"
    chat = open_prompts.read(cell(chat_template="tulu"), questions)
    assert chat.prompt(chat.rows[0]).prefix == "<|user|>\n0?\nAnswer:\n<|assistant|>\n"
    local = open_prompts.read({**cell(prompt_language="local"), "language": "de"}, questions)
    assert local.prompt(local.rows[0]).prefix == "Frage: 0?\nAntwort:"


def test_prompts_that_do_not_fit_lose_examples(network):
    _, tokenizer = network
    long = prompts.Prompt(("one\n\n", "two\n\n"), "three", ())
    rows, cut = open_prompts.tokenize(tokenizer, [long], window=12)
    assert tokenizer.decode(rows[0]) == "<s>two\n\nthree"
    assert cut == 1
    with pytest.raises(ScoringError, match="question 0: 6 tokens, but 4 tokens of the model's window"):
        open_prompts.tokenize(tokenizer, [long], window=4)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"chat_template": "chatml"}, PromptError, "chat_template 'chatml' does not exist; known: tulu"),
        ({"num_fewshot": 3}, PromptError, "group 'g' has 0 examples, but num_fewshot is 3"),
        ({"max_new_tokens": 510}, ScoringError, "lower max_new_tokens"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(sure, tmp_path, settings, error, words):
    questions = write_questions(tmp_path / "q.parquet")
    with pytest.raises(error, match=words):
        run(sure, questions, tmp_path / "g.parquet", **settings)
    assert not list(tmp_path.glob("g*"))


def test_questions_without_accepted_answers_are_refused(sure, tmp_path):
    questions = write_questions(tmp_path / "q.parquet", answers=())
    with pytest.raises(
        RecordError, match=r"row 0 \(question_id 'q0'\): an accepted answer is missing or empty"
    ):
        run(sure, questions, tmp_path / "g.parquet")
    questions = write_questions(tmp_path / "none.parquet", count=0)
    with pytest.raises(PromptError, match="contains no test question"):
        run(sure, questions, tmp_path / "g.parquet")


def test_an_altered_record_is_refused(sure, tmp_path):
    out = tmp_path / "g.parquet"
    run(sure, write_questions(tmp_path / "q.parquet"), out)
    table = open_records.read_generations(out)
    broken = table.set_column(4, "greedy_logprob", [[float("nan")] * table.num_rows])
    records.write(out, broken, open_records.GENERATION, {})
    with pytest.raises(RecordError, match="a value of greedy_logprob is missing or not finite"):
        open_records.read_generations(out)
