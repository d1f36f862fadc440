"""The self-check of a model folder, with built-in prompts instead of those of a run."""

from pathlib import Path
from typing import Any

import numpy as np

from polycal.artifacts import checkpoints
from polycal.data import model_loading
from polycal.data.token_ids import Encoder
from polycal.scoring import candidate_check, models, next_token, prompt_embeddings, prompts
from polycal.scoring.self_check import SelfCheck

QUESTIONS: tuple[dict[str, Any], ...] = (
    {
        "question": "Which of them is a colour?",
        "options": ["blue", "a river in the north", "seven"],
        "gold": 0,
    },
    {"question": "¿Cuántos días tiene una semana?", "options": ["siete", "ocho", "setenta y dos"], "gold": 0},
    {"question": "水在什么温度下结冰？", "options": ["零度", "一百度"], "gold": 0},
    {"question": "ما هو أكبر محيط؟", "options": ["المحيط الهادئ", "البحر الأحمر"], "gold": 0},
)
FORMS: tuple[prompts.Candidates, ...] = ("letters", "texts")


def check_model(model: Path, dtype: str, attention: str) -> tuple[str, dict[str, SelfCheck]]:
    """A description of the loaded model, and the results for candidates, embeddings and next tokens.

    ``model`` is a model folder or its manifest. Raises CheckpointError, ModelError, SelfCheckError or
    ScoringError.
    """
    checkpoint = checkpoints.read(model)
    device = models.choose_device(checkpoint.folder, dtype)
    network, tokenizer = models.load(checkpoint.folder, dtype, attention, device)
    window = models.context_window(network)
    built_in = [
        prompts.build_prompt(question, examples, form)
        for form in FORMS
        for examples in ((), QUESTIONS[:2])
        for question in QUESTIONS
    ]
    texts = [prompt.prefix for prompt in built_in]
    rows = [np.array(row[:window]) for row in Encoder(tokenizer)(texts)]
    targets = [(row, np.arange(len(row)) > 0) for row in rows if len(row) > 1]
    name = f"{model_loading.describe(network)}, {dtype}, {attention}, {network.device.type}"
    return name, {
        "candidates": candidate_check.check(network, tokenizer, [built_in]),
        "embeddings": prompt_embeddings.check(network, tokenizer, texts, window),
        "next tokens": next_token.check(network, targets),
    }
