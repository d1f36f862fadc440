"""Prompts for models of any family, and their log-likelihoods from the model's own logits."""

from typing import Any

import torch

from polycal.scoring import prompts

QUESTIONS = [
    ("Which lake is deep?", ["The river", "The lake", "A"]),
    ("Which river is long, and why is that so? " * 2, ["B C", "A river is long", "D", "deep"]),
]
PROMPTS = [
    prompts.build_prompt({"question_id": str(number), "question": text, "options": options}, (), form)
    for number, (text, options) in enumerate(QUESTIONS)
    for form in ("letters", "texts")
]


@torch.inference_mode()
def own_log_likelihoods(model: Any, tokenizer: Any, asked: Any = PROMPTS) -> list[list[float]]:
    """The log-likelihood of each candidate in nats, from one forward pass each, without code of polycal."""
    values = []
    for prompt in asked:
        before = len(tokenizer(prompt.prefix)["input_ids"])
        values.append([])
        for text in prompt.candidates:
            ids = tokenizer(prompt.prefix + text)["input_ids"]
            log_p = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
            values[-1].append(sum(float(log_p[at - 1, ids[at]]) for at in range(before, len(ids))))
    return values
