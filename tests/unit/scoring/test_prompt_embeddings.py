"""Prompt embeddings of tiny models, against plain forward passes, and their records."""

import pytest
import torch
from helpers import models as tiny
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.scoring import models, prompt_embeddings

SETTINGS = {
    "pooling": "last", "questions": 2, "candidates": "letters", "num_fewshot": 0, "dtype": "float32",
    "attention": "eager",
}  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def folder(request, tmp_path_factory):
    return tiny.save(request.param, tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_vectors_are_those_of_a_prompt_alone(folder, pooling):
    model, tokenizer = models.load(folder, "float32", "eager", "cpu")
    rows = tokenizer(["short", "a longer prompt than that", "中文"])["input_ids"]
    vectors = prompt_embeddings.prompt_vectors(model, rows, pooling, token_budget=64)
    for row, vector in zip(rows, vectors, strict=True):
        with torch.inference_mode():
            hidden = model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0]
        expected = hidden[-1] if pooling == "last" else hidden.mean(0)
        assert vector == pytest.approx(expected.numpy(), abs=1e-4)


def write_questions(path, count=3):
    row = {"group": "g", "options": ["yes", "no"], "gold": 0, "split": "test"}
    rows = [{**row, "question_id": f"q{n}", "question": f"Is it {n}?"} for n in range(count)]
    records.write(path, rows, records.QUESTION)
    return path


def test_one_record_per_file_with_the_first_questions(folder, tmp_path):
    files = [write_questions(tmp_path / f"{code}.parquet") for code in ("de", "en")]
    out, done = [tmp_path / "a", tmp_path / "b"], []
    cells = [{"language": path.stem, "settings": SETTINGS} for path in files]
    prompt_embeddings.embed(
        cells,
        model=folder,
        questions=files,
        out=out,
        stamps=[FixedStamp(), FixedStamp(host="h")],
        done=done.append,
    )
    assert done == [0, 1]
    table = records.read_embeddings(out[1])
    assert table["question_id"].to_pylist() == ["q0", "q1"]
    facts = records.metadata(out[1])
    assert (facts["host"], facts["width"], facts["cell"]["language"]) == ("h", 32, "en")
    model, tokenizer = models.load(folder, "float32", "eager", "cpu")
    expected = prompt_embeddings.prompt_vectors(
        model, [tokenizer("Is it 1?\nA. yes\nB. no\nAnswer:")["input_ids"]], "last"
    )
    assert table["embedding"].to_pylist()[1] == pytest.approx(expected[0], abs=1e-4)


def test_a_prompt_longer_than_the_window_is_refused(tmp_path):
    folder = tiny.save("mistral", tmp_path / "model", window=8)
    with pytest.raises(prompt_embeddings.EmbeddingError, match=r"q0' has \d+ tokens.*window is 8"):
        prompt_embeddings.embed(
            [{"language": "en", "settings": SETTINGS}],
            model=folder,
            questions=[write_questions(tmp_path / "en.parquet")],
            out=[tmp_path / "a"],
            stamps=[FixedStamp()],
        )
