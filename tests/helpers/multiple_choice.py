"""Questions in several scripts, their score records from a tiny model, and reference values in float64."""

import torch

from helpers.stamps import FixedStamp
from polycal.artifacts import records
from polycal.scoring import models, multiple_choice
from polycal.vocabulary import CELL_KEYS

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
TESTS = [row for row in ROWS if row["split"] == "test"]
EXAMPLES = [row for row in ROWS if row["split"] == "examples"]


def cell(candidates, num_fewshot, attention="eager"):
    settings = {
        "candidates": candidates, "num_fewshot": num_fewshot, "dtype": "float32", "attention": attention,
    }  # fmt: skip
    return {"stage": "score", "model": "tiny", "language": "xx", "settings": settings}


def score(folder, questions, out, candidates, num_fewshot, token_budget=None, attention="eager"):
    """Score one file of questions, and return the rows of the score record."""
    multiple_choice.score(
        [cell(candidates, num_fewshot, attention)],
        model=folder,
        questions=[questions],
        out=[out],
        stamps=[FixedStamp()],
        token_budget=token_budget,
    )
    return records.read_scores(out).to_pylist()


def score_all_columns(
    folder, questions, out, candidates, num_fewshot=0, budget=None, attention="sdpa", **settings
):
    """Score one file of questions with further ``settings``, and return rows with all columns of the record."""
    names = cell(candidates, num_fewshot, attention) | {
        key: "none" for key in CELL_KEYS if key not in ("model", "language")
    }
    names["settings"] |= settings
    multiple_choice.score(
        [names], model=folder, questions=[questions], out=[out], stamps=[FixedStamp()], token_budget=budget
    )
    return records.whole(out).to_pylist()


def reference(folder, prompt):
    """Log-likelihoods of a prompt's candidates in nats, from full logits in float64, one sequence per candidate."""
    model, tokenizer = models.load(folder, "float64", "eager", "cpu")
    values = []
    for text in prompt.candidates:
        before, whole = tokenizer(prompt.prefix)["input_ids"], tokenizer(prompt.prefix + text)["input_ids"]
        with torch.no_grad():
            logp = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        values.append(sum(float(logp[at - 1, whole[at]]) for at in range(len(before), len(whole))))
    return values
