"""Builds the miniature's base models. A gate refuses a model that has not learned the task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polycal.artifacts import checkpoints, files
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.metrics import probability_scores
from polycal.miniature import benchmark_questions, documents, pretraining
from polycal.miniature.world import World
from polycal.scoring import prompts
from polycal.scoring.candidate_scores import score_candidates

MODEL_FILES = (
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""Files that are written beside the manifest of a base model."""
GATE = 0.7
"""A base model must get this share of the way from chance to the accuracy of the true distribution."""
GATE_QUESTIONS = 200
TOKEN_BUDGET = 8192
"""Padded tokens per batch when the gate scores questions."""


class GateError(PolycalError):
    """An unknown base model, or one that has not learned the task; the message gives its accuracy."""


def miniature_model(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> list[Path]:
    """Pre-train a base model and write it beside its manifest ``out``; returns the paths of the other files.

    ``cell["model"]`` is mistral, llama or gemma2. ``cell["base_seed"]`` is a whole number as a string. It seeds
    the weights and the documents of pre-training. ``cell["settings"]`` has ``seed`` and ``languages`` of the
    world, ``steps``, ``batch_size`` (documents per step) and ``learning_rate``. The manifest contains the
    results of the gate. Training uses one thread, so that the same seed gives the same weights.

    Raises GateError if the model is unknown or has not learned the task; nothing is written then.
    """
    settings, architecture, base_seed = cell["settings"], cell["model"], int(cell["base_seed"])
    if architecture not in pretraining.SPECIAL_TOKENS:
        raise GateError(
            f"miniature model {architecture!r} is unknown; known: {', '.join(pretraining.SPECIAL_TOKENS)}."
        )
    torch.set_num_threads(1)
    world = World(settings["seed"], settings["languages"])
    tokenizer = pretraining.tokenizer(documents.vocabulary(world), architecture)
    batches = pretraining.batches(world, tokenizer, settings["steps"], settings["batch_size"], base_seed)
    model = pretraining.untrained(architecture, len(tokenizer), base_seed)
    pretraining.train(model, batches, float(settings["learning_rate"]))
    model.eval()
    gate_results = {name: gate(model, tokenizer, world, name) for name in benchmark_questions.BENCHMARKS}
    _check_gate(architecture, gate_results)
    folder = out.parent
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = ["---", "license: apache-2.0", "---", "", f"# {architecture} (miniature)", ""]
    card += ["A tiny model of polycal's made-up world."]
    files.write_text(folder / "README.md", "\n".join(card) + "\n")
    files.write_json(out, {**stamp(), "folder": ".", **checkpoints.describe(folder), "gate": gate_results})
    return [folder / name for name in MODEL_FILES]


def _check_gate(architecture: str, gate_results: Mapping[str, Mapping[str, float]]) -> None:
    """Print the result on each benchmark. Raises GateError if a share is below GATE."""
    for name, result in gate_results.items():
        print(f"{architecture}, {name}: {result}", flush=True)
        if result["share"] < GATE:
            raise GateError(
                f"{architecture}: accuracy on {name} is {result['accuracy']:.3f}, {result['share']:.0%} of"
                f" the way from chance ({result['chance']:.3f}) to the true distribution's"
                f" {result['truth']:.3f}; {GATE:.0%} is needed. Raise miniature.steps, or"
                " change miniature.seed or grid.base_seeds."
            )


def gate(model: Any, tokenizer: Any, world: World, benchmark: str) -> dict[str, float]:
    """Accuracy of a model on up to ``GATE_QUESTIONS`` test questions per language, scored by answer texts.

    ``accuracy`` is the mean over languages. ``chance`` is the expected accuracy of a uniform guess. ``truth``
    is the accuracy of the most probable answer of the true distribution.
    ``share`` = (accuracy - chance) / (truth - chance).
    """
    questions = [
        question
        for question in benchmark_questions.questions(world, benchmark, GATE_QUESTIONS)
        if question.split == "test"
    ]
    choices = [question.choice for question in questions]
    gold = np.array([choice.gold for choice in choices])
    accuracies = []
    for language in world.languages:
        language_prompts = [
            prompts.build_prompt(
                {
                    "question_id": question.number,
                    "question": world.question(language, question.choice.fact),
                    "options": benchmark_questions.options(world, language, question.choice),
                },
                [],
                "texts",
            )
            for question in questions
        ]
        scores = score_candidates(model, tokenizer, language_prompts, TOKEN_BUDGET)
        probabilities = probability_scores.option_probabilities(
            scores.logprob, "token", option_tokens=scores.tokens
        )
        accuracies.append(probability_scores.accuracy(probabilities, gold))
    accuracy = float(np.mean(accuracies))
    chance = float(np.mean([1 / len(choice.options) for choice in choices]))
    truth = float(np.mean([int(np.argmax(choice.truth)) == choice.gold for choice in choices]))
    share = (accuracy - chance) / (truth - chance)
    return {"accuracy": accuracy, "chance": chance, "truth": truth, "share": share}
