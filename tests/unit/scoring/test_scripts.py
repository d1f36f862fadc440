"""Where a candidate begins, and its log-likelihood, in many scripts and with each kind of tokenizer."""

import unicodedata

import pytest
import torch
from helpers import models as tiny
from helpers.stamps import FixedStamp
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from polycal.artifacts import records
from polycal.data.token_ids import Encoder
from polycal.scoring import candidates, models, multiple_choice, prompts
from polycal.scoring.candidate_scores import score_candidates

VOCABULARY = 320
TEXTS = {
    "zh": ("天空是什么颜色？", ("蓝色", "绿色")),
    "ja": ("空は何色ですか", ("青です", "緑です")),
    "th": ("ท้องฟ้าสีอะไร", ("สีฟ้า", "สีเขียว")),
    "ar": ("ما لون السماء؟", ("أزرق", "أَخْضَر")),
    "he": ("מה צבע השמיים?", ("כחול", "יָרֹק")),
    "hi": ("आकाश का रंग क्या है?", ("नीला", "हरा है")),
    "ta": ("வானத்தின் நிறம் என்ன?", ("நீலம்", "பச்சை")),
    "yo-NFC": (
        unicodedata.normalize("NFC", "Kí ni àwọ̀ ojú ọ̀run?"),
        ("búlúù", unicodedata.normalize("NFC", "àwọ̀ ewé")),
    ),
    "yo-NFD": (
        unicodedata.normalize("NFD", "Kí ni àwọ̀ ojú ọ̀run?"),
        ("búlúù", unicodedata.normalize("NFD", "àwọ̀ ewé")),
    ),
}
TRAINING_TEXTS = [f"{text} {' '.join(options)}" for text, options in TEXTS.values()] * 3
TOKENIZERS = {
    "bytes": lambda bos: tiny.tokenizer(bos),
    "merged": lambda bos: tiny.tokenizer(bos, TRAINING_TEXTS, VOCABULARY),
    "fallback": tiny.fallback,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny.save("llama", tmp_path_factory.mktemp("script") / "llama", vocabulary=VOCABULARY)
    return models.load(folder, "float32", "sdpa", "cpu")[0]


def plain(model, tokenizer, prefix, candidates):
    """Log-likelihoods and lengths of candidates, with one sequence for each.

    All candidates begin at the first token in which one of them differs from the prefix.
    """
    before = tokenizer(prefix)["input_ids"]
    sequences = [tokenizer(prefix + text)["input_ids"] for text in candidates]
    start = min(
        next((n for n, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), len(before))
        for ids in sequences
    )
    values = []
    for ids in sequences:
        with torch.no_grad():
            logp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        values.append(sum(float(logp[index - 1, ids[index]]) for index in range(start, len(ids))))
    return values, [len(ids) - start for ids in sequences]


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_script_is_scored_as_one_string(model, kind, bos):
    tokenizer = TOKENIZERS[kind](bos)
    built = [
        prompts.build_prompt({"question": text, "options": options, "gold": 0}, [], "texts")
        for text, options in TEXTS.values()
    ]
    scores = score_candidates(model, tokenizer, built)
    for prompt, logprob, tokens in zip(built, scores.logprob, scores.tokens, strict=True):
        values, lengths = plain(model, tokenizer, prompt.prefix, prompt.candidates)
        assert logprob == pytest.approx(values, abs=1e-4)
        assert tokens == lengths
        sequences, start = candidates.tokenize_candidates(
            Encoder(tokenizer), prompt.prefix, prompt.candidates
        )
        assert sequences[0][:1] == [1] if bos else sequences[0][:1] != [1]
        for text, row in zip(prompt.candidates, sequences, strict=True):
            # No character is lost: the scored tokens decode to the candidate.
            assert tokenizer.decode(row[start:]).strip() == text.strip()


def test_byte_fallback_gives_an_unknown_character_the_tokens_of_its_bytes(model):
    scores = score_candidates(model, tiny.fallback(), [prompts.Prompt((), "a", (" 色", " er"))])
    assert scores.tokens == [[4, 2]]


def test_composed_and_decomposed_tone_marks_have_different_tokens(model):
    tokenizer = TOKENIZERS["merged"](True)
    composed, decomposed = (TEXTS[name][1][1] for name in ("yo-NFC", "yo-NFD"))
    assert composed != decomposed
    scores = score_candidates(
        model, tokenizer, [prompts.Prompt((), "Q:", (f" {composed}", f" {decomposed}"))]
    )
    assert scores.logprob[0][0] != pytest.approx(scores.logprob[0][1], abs=1e-3)


def test_a_token_across_the_boundary_counts_for_all_candidates(model):
    tokenizer = tiny.tokenizer(True, ["天空", "天空"] * 5, VOCABULARY)
    prompt = prompts.Prompt((), "看天", ("空", "气"))
    scores = score_candidates(model, tokenizer, [prompt])
    values, lengths = plain(model, tokenizer, prompt.prefix, prompt.candidates)
    assert scores.logprob[0] == pytest.approx(values, abs=1e-4)
    # 天空 is one token, so 天 is scored for both candidates; before 气 it has three tokens.
    assert scores.tokens == [lengths] == [[1, lengths[1]]]


@pytest.mark.parametrize("budget", [1, None])
def test_equal_candidates_and_candidates_that_are_a_prefix_of_another(model, budget):
    prompt = prompts.Prompt((), "Why?", (" tree", " tree house", " tree", " t"))
    scores = score_candidates(model, tiny.tokenizer(), [prompt], budget)
    values, lengths = plain(model, tiny.tokenizer(), prompt.prefix, prompt.candidates)
    assert scores.logprob[0] == pytest.approx(values, abs=1e-4)
    assert scores.logprob[0][0] == scores.logprob[0][2]
    assert (scores.tokens, scores.equal_candidates) == ([lengths], 1)


def test_candidates_of_the_same_tokens_are_equal_even_if_their_texts_differ(model):
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    composed, decomposed = (
        prompts.Prompt((), "Où?", (" né", " ne\u0301")),
        prompts.Prompt((), "Où?", (" a", " b")),
    )
    scores = score_candidates(model, tokenizer, [composed, decomposed])
    assert scores.logprob[0][0] == scores.logprob[0][1]
    assert scores.equal_candidates == 1
    assert score_candidates(model, tiny.tokenizer(), [composed]).equal_candidates == 0


def test_candidates_that_a_tokenizer_cannot_read_are_counted(model):
    vocabulary = {token: number for number, token in enumerate(["<unk>", "<s>", "</s>", "Why", "tree"])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="</s>")
    built = [
        prompts.Prompt((), "Why", texts)
        for texts in ((" tree", " tree tree"), (" tree", " 树"), (" a", " b"))
    ]
    scores = score_candidates(model, tokenizer, built)
    assert (scores.unknown_candidates, scores.equal_candidates) == (2, 1)
    assert score_candidates(model, tiny.tokenizer(), built).unknown_candidates == 0


def test_examples_beyond_the_window_are_cut_and_the_record_counts_them(tmp_path):
    folder = tiny.save("mistral", tmp_path / "model", window=64)
    row = {"group": "g", "options": ["aye", "no"], "gold": 0}
    rows = [{**row, "question_id": f"e{n}", "question": "Is it?", "split": "examples"} for n in range(3)]
    rows.append({**row, "question_id": "short", "question": "Is?", "split": "test"})
    rows.append(
        {**row, "question_id": "long", "question": "Is it so, and nothing else than that?", "split": "test"}
    )
    records.write(tmp_path / "questions.parquet", rows, records.QUESTION)
    settings = {"candidates": "texts", "num_fewshot": 3, "dtype": "float32", "attention": "eager"}
    multiple_choice.score(
        [{"language": "xx", "settings": settings}],
        model=folder,
        questions=[tmp_path / "questions.parquet"],
        out=[tmp_path / "s"],
        stamps=[FixedStamp()],
    )
    metadata, (short, long) = (
        records.metadata(tmp_path / "s"),
        records.read_scores(tmp_path / "s").to_pylist(),
    )
    assert metadata["prompts_cut"] == 2
    model, tokenizer = models.load(folder, "float32", "eager", "cpu")
    example = "Is it?\nAnswer: aye\n\n"
    for row, prefix in ((short, 2 * example + "Is?\nAnswer:"), (long, rows[-1]["question"] + "\nAnswer:")):
        values, _ = plain(model, tokenizer, prefix, (" aye", " no"))
        assert row["option_logprob"] == pytest.approx(values, abs=1e-4)
