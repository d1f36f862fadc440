"""How long P(True), stated levels and several orders of the options take, relative to the plain protocol.

    python benchmarks/follow_ups.py [--rounds 3] [--questions 45] [--csv FILE]

All protocols score the same five-shot questions of ``scoring.py`` by letters, with one small Llama of random weights,
in one process and one thread. A round times each protocol once, and every second round in reverse order. The result
is the ratio of CPU time to that of the plain protocol of the same round. Building and tokenizing prompts is included.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scoring
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import results
from polycal.artifacts import records
from polycal.scoring import asked_questions
from polycal.scoring.candidate_scores import score_candidates

PLAIN = "plain"
PROTOCOLS: dict[str, tuple[dict[str, Any], float, float]] = {
    PLAIN: ({"candidates": "letters"}, 1.0, 1.0),
    "P(True) of the chosen option, words": ({"candidates": "letters", "follow_up": "true_words"}, 1.0, 1.3),
    "P(True) of the chosen option, letters": (
        {"candidates": "letters", "follow_up": "true_letters"},
        1.0,
        1.3,
    ),
    "levels": ({"candidates": "letters", "follow_up": "levels"}, 1.0, 1.5),
    "P(True) of all options, per order, words": ({"candidates": "true_words"}, 2.0, 2.5),
    "P(True) of all options, per order, letters": ({"candidates": "true_letters"}, 2.0, 2.5),
    "4 rotations": ({"candidates": "letters", "rotations": 4}, 1.0, 4.0),
}
"""Settings, by what the ratio is divided, and the largest ratio that is accepted."""
WORDS = "Confidence: 0% 10% 20% 90% 100%\nIs the proposed answer true or false?\nAnswer: A. True B. False\nProposed"
VERSIONS = ("polycal", "torch", "transformers")


def tokenizer(texts: list[str], vocabulary: int = 4096) -> PreTrainedTokenizerFast:
    """Byte pairs learned from ``texts``, so that a question has about as many tokens as with a real tokenizer."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=made)


def model(vocabulary: int = 4096) -> LlamaForCausalLM:
    """A small Llama with random weights, whose head has about a fifth of the work of a token."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=528,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=4096,
    )
    return LlamaForCausalLM(shape).eval()


def seconds(network: Any, words: Any, file: Path, settings: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds of scoring a file with one protocol, and the tokens that the model read."""
    cell = {"language": "en", "settings": {"num_fewshot": 5, **settings}}
    begun = time.process_time()
    asked = asked_questions.ask(cell, file)
    scores = score_candidates(network, words, asked.prompts, follow_up=asked.follow_up)
    asked.answers(scores)
    return time.process_time() - begun, scores.timing["tokens"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=45)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = scoring.questions(arguments.questions)
    words = tokenizer([row["question"] + " ".join(row["options"]) for row in rows] + [WORDS] * 50)
    network = model()
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "questions.parquet"
        records.write(file, rows, records.QUESTION)
        seconds(network, words, file, PROTOCOLS[PLAIN][0])  # warm
        for turn in range(arguments.rounds):
            order = list(PROTOCOLS) if turn % 2 == 0 else list(reversed(PROTOCOLS))
            spent = {name: seconds(network, words, file, PROTOCOLS[name][0]) for name in order}
            for name, (_, parts, _) in PROTOCOLS.items():
                ratios.setdefault(name, []).append(spent[name][0] / spent[PLAIN][0] / parts)
            print(
                f"round {turn + 1}:",
                ", ".join(f"{n} {s:.2f} s {t:.0f} tokens" for n, (s, t) in spent.items()),
            )
    case = f"five-shot letters, {arguments.questions} questions, 1 thread, {arguments.rounds} rounds"
    middle = {name: float(np.median(values)) for name, values in ratios.items()}
    results.append(arguments.csv, "follow_ups", case, middle, VERSIONS)
    wrong = []
    for name, (_, _, most) in PROTOCOLS.items():
        values = ratios[name]
        print(f"{name}: {middle[name]:.2f} ({min(values):.2f} to {max(values):.2f}), accepted {most}")
        if middle[name] > most:
            wrong.append(f"{name} {middle[name]:.2f} > {most}")
    if wrong:
        raise SystemExit("above the accepted values: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
