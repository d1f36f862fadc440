"""The miniature hub: instruction sets, benchmarks and base models in the shape of the real repositories.

Everything is made up here and licensed as this project is. The true answer distribution of every question
lies beside the benchmarks and is never shown to a model.
"""

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from polycal.artifacts import checkpoints, files
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.metrics import calibration
from polycal.miniature import documents, pretraining
from polycal.miniature.lexicon import RELATIONS
from polycal.miniature.world import Choice, Fact, World
from polycal.scoring import multiple_choice, prompts

MODEL_FILES = (
    "README.md",
    "config.json",
    "gate.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
LETTERS = "ABCDEFGHIJ"
TEMPERATURE = 0.3
"""Instruction data hold the answers that annotators would write: nearly always the most likely one."""
PLENTY = 6
"""Rows of the multilingual set for each row of the others, so that its rarest language fills a balanced mixture."""
TULU_LANGUAGES = ("en", "de", "fr", "zh")
"""Tulu 3 is not English only; its likeness holds the world's high-resource languages too."""
TULU_SHARES = (0.7, 0.12, 0.1, 0.08)
EXAMPLES = 5
"""Worked examples of each group."""
GATE = 0.7
"""Least share of the true distribution's accuracy above chance that a base has to reach."""
GATE_QUESTIONS = 200

TEXT = pa.string()
TURN = pa.struct([("role", TEXT), ("content", TEXT)])
TAGGED = pa.schema([("messages", pa.list_(TURN)), ("source", TEXT), ("language", TEXT)])
SAID = pa.struct([("from", TEXT), ("value", TEXT), ("weight", pa.float64())])


class GateError(PolycalError):
    """A base model that has not learned the task; the message says how far it got."""


def build_data(cell: Mapping[str, Any], folder: Path, stamp: Stamp) -> None:
    """Write the instruction sets, the two benchmarks and the truth below ``folder``.

    ``cell["settings"]``: seed, languages, questions (a benchmark and language), rows (an instruction set).
    Raises WorldError for languages that the world does not speak.
    """
    settings = cell["settings"]
    world = World(settings["seed"], settings["languages"])
    for part in ("data", "benchmarks", "truth"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for name, make in INSTRUCTIONS.items():
        place = folder / "data" / name
        _table(place / "data/train-00000-of-00001.parquet", make(world, settings["rows"]))
        _card(place, [("default", {"train": "data/train-*"})])
    for name, (_sizes, row, example_split, ids) in BENCHMARKS.items():
        place = folder / "benchmarks" / name
        asked = list(questions(world, name, settings["questions"]))
        for language in world.languages:
            for split, role in (("test", "test"), (example_split, "examples")):
                rows = [row(world, language, q, c) for q, c, s in asked if s == role]
                _table(place / language / f"{split}-00000-of-00001.parquet", _rows(rows))
            # under the ids that the adapters read from these rows
            truth = [
                {"question_id": str(row(world, language, q, c)[ids]), "truth": list(c.truth)}
                for q, c, s in asked
                if s == "test"
            ]
            _table(folder / "truth" / name / f"{language}.parquet", _rows(truth))
        splits = {"test": "test-*", example_split: f"{example_split}-*"}
        _card(place, [(x, {k: f"{x}/{v}" for k, v in splits.items()}) for x in world.languages])


def questions(world: World, benchmark: str, count: int) -> Iterator[tuple[str, Choice, str]]:
    """(id, question, split) of a benchmark, the same for every language, on facts that no tuning shows."""
    sizes = BENCHMARKS[benchmark][0]
    rng = world.rng("benchmark", len(sizes))
    facts = world.facts(tuning=False)
    order = [facts[n] for n in rng.permutation(len(facts))]
    held = [f for r in range(len(RELATIONS)) for f in [f for f in order if f.relation == r][:EXAMPLES]]
    tested = [fact for fact in order if fact not in set(held)]
    chosen = list(itertools.islice(itertools.cycle(tested), count))
    for split, some in (("test", chosen), ("examples", held)):
        drawn = rng.choice(sizes, size=len(some))
        for number, choice in enumerate(world.choices(rng, some, [int(n) for n in drawn])):
            yield f"{number if split == 'test' else 100_000 + number}", choice, split


def _prox(world: World, language: str, number: str, choice: Choice) -> dict[str, Any]:
    options = _options(world, language, choice)
    return {
        "question_id": int(number),
        "question": world.question(language, choice.fact),
        **{f"option_{n}": options[n] if n < len(options) else None for n in range(10)},
        "answer": LETTERS[choice.gold],
        "answer_index": choice.gold,
        "cot_content": "",
        "category": RELATIONS[choice.fact.relation],
        "src": "miniature",
        "question_id_src": int(number),
    }


def _global(world: World, language: str, number: str, choice: Choice) -> dict[str, Any]:
    options = _options(world, language, choice)
    subject = RELATIONS[choice.fact.relation]
    return {
        "sample_id": f"{subject}/{'test' if int(number) < 100_000 else 'dev'}/{number}",
        "subject": subject,
        "subject_category": "People",
        "question": world.question(language, choice.fact),
        **{f"option_{letter}": option for letter, option in zip("abcd", options, strict=True)},
        "answer": LETTERS[choice.gold],
        **dict.fromkeys(
            ("required_knowledge", "time_sensitive", "reference", "culture", "region", "country"), "[]"
        ),
        "cultural_sensitivity_label": "-",
        "is_annotated": False,
    }


def _options(world: World, language: str, choice: Choice) -> list[str]:
    return [world.option(language, choice.fact.relation, value) for value in choice.options]


BENCHMARKS: dict[str, tuple[tuple[int, ...], Any, str, str]] = {
    "mmlu-prox": (tuple(range(3, 11)), _prox, "validation", "question_id"),
    "global-mmlu": ((4,), _global, "dev", "sample_id"),
}
"""Numbers of options, row of one question, name of the split of examples, and column of the ids."""


def _tuned(world: World, name: str, count: int) -> Iterator[tuple[np.random.Generator, Fact, int]]:
    """Facts of instruction data in turn, with the answer that an annotator would write."""
    rng = world.rng(name)
    facts, usual = world.facts(tuning=True), world.usual(TEMPERATURE)
    for place in itertools.islice(itertools.cycle(rng.permutation(len(facts))), count):
        fact = facts[place]
        yield rng, fact, int(usual[fact])


def _alpaca(world: World, count: int) -> pa.Table:
    rows = []
    for rng, fact, value in _tuned(world, "alpaca", count):
        if rng.random() < 0.4:
            instruction, given, output = documents.about(world, rng, fact, value)
        else:
            (_, instruction), (_, output) = documents.asked(world, rng, "en", fact, value)
            given = ""
        text = "\n\n".join(part for part in (instruction, given, output) if part)
        rows.append({"instruction": instruction, "input": given, "output": output, "text": text})
    return _rows(rows)


def _tulu(world: World, count: int) -> pa.Table:
    spoken = [x for x in TULU_LANGUAGES if x in world.languages]
    share = np.array(TULU_SHARES[: len(spoken)]) / sum(TULU_SHARES[: len(spoken)])
    rows = []
    for number, (rng, fact, value) in enumerate(_tuned(world, "tulu", count)):
        language = spoken[rng.choice(len(spoken), p=share)]
        if language == "en":
            turns = documents.conversation(world, rng, fact, value)
        else:
            turns = documents.asked(world, rng, language, fact, value)
        source = "miniature/english" if language == "en" else "miniature/aya"
        messages = [{"role": role, "content": said} for role, said in turns]
        rows.append({"id": f"tulu_{number}", "messages": messages, "source": source})
    return pa.Table.from_pylist(
        rows, pa.schema([("id", TEXT), ("messages", pa.list_(TURN)), ("source", TEXT)])
    )


def _openhermes(world: World, count: int) -> pa.Table:
    who = {"system": "system", "user": "human", "assistant": "gpt"}
    nothing = (
        "custom_instruction",
        "topic",
        "model_name",
        "model",
        "title",
        "idx",
        "views",
        "language",
        "id",
    )
    rows = []
    for rng, fact, value in _tuned(world, "openhermes", count):
        turns = documents.conversation(world, rng, fact, value)
        said = [{"from": who[role], "value": text, "weight": None} for role, text in turns]
        rows.append(
            {
                **dict.fromkeys((*nothing, "hash", "avatarUrl", "system_prompt")),
                "skip_prompt_formatting": False,
                "category": RELATIONS[fact.relation],
                "source": "miniature",
                "conversations": said,
            }
        )
    texts = [(name, TEXT) for name in (*nothing, "hash", "avatarUrl", "system_prompt", "category", "source")]
    schema = pa.schema([*texts, ("skip_prompt_formatting", pa.bool_()), ("conversations", pa.list_(SAID))])
    return pa.Table.from_pylist(rows, schema)


def _aya(world: World, count: int) -> pa.Table:
    """Every language of the world in its share, tagged, as in Aya's collection; rows enough to be balanced."""
    shares = documents.shares(world.languages)
    rows = []
    for rng, fact, value in _tuned(world, "aya", PLENTY * count):
        language = world.languages[rng.choice(len(shares), p=shares)]
        rows.append(_tagged(world, rng, language, fact, value))
    return pa.Table.from_pylist(rows, TAGGED)


def _unseen(world: World, count: int) -> pa.Table:
    """Conversations to be held out: all languages alike, by the same annotators, on facts that no tuning shows."""
    rng, usual = world.rng("unseen"), world.usual(TEMPERATURE)
    facts = world.facts(tuning=False)
    places = itertools.islice(itertools.cycle(rng.permutation(len(facts))), count)
    rows = [
        _tagged(world, rng, world.languages[n % len(world.languages)], facts[place], int(usual[facts[place]]))
        for n, place in enumerate(places)
    ]
    return pa.Table.from_pylist(rows, TAGGED)


def _tagged(world: World, rng: np.random.Generator, language: str, fact: Fact, value: int) -> dict[str, Any]:
    turns = documents.asked(world, rng, language, fact, value)
    messages = [{"role": role, "content": said} for role, said in turns]
    return {"messages": messages, "source": "miniature/aya", "language": language}


INSTRUCTIONS = {
    "alpaca": _alpaca,
    "tulu": _tulu,
    "openhermes": _openhermes,
    "aya": _aya,
    "unseen": _unseen,
}


def _rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table whose columns without any value are text, as the hub's are."""
    table = pa.Table.from_pylist([dict(row) for row in rows])
    fields = [pa.field(f.name, TEXT) if pa.types.is_null(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def _table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    pq.write_table(table, aside)
    aside.replace(path)


def _card(folder: Path, configs: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    lines = ["---", "license: apache-2.0", "configs:"]
    for name, splits in configs:
        lines += [f"- config_name: '{name}'", "  data_files:"]
        for split, pattern in splits.items():
            lines += [f"  - split: {split}", f"    path: {pattern}"]
    lines += [
        "---",
        "",
        f"# {folder.name} (miniature)",
        "",
        "Made up by polycal; nothing of it is from the real set.",
    ]
    if folder.parent.name == "data":
        lines += [
            f"Answers are drawn at temperature {TEMPERATURE}: annotators nearly always write the most likely answer,",
            "while the benchmarks' right answers are drawn from the distribution itself. Part of the over-confidence",
            "after tuning is this shift.",
        ]
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def build_model(cell: Mapping[str, Any], folder: Path, stamp: Stamp) -> None:
    """Pre-train a base model and write it to ``folder``, with what it reached at the gate.

    ``cell["model"]`` is mistral, llama or gemma2. One thread, so that two bases train side by side and the
    same seed gives the same weights. Raises GateError, and writes nothing, where the task was not learned.
    """
    settings, architecture = cell["settings"], cell["model"]
    if architecture not in pretraining.SPECIAL:
        raise GateError(
            f"miniature model {architecture!r} is unknown; known: {', '.join(pretraining.SPECIAL)}."
        )
    torch.set_num_threads(1)
    world = World(settings["seed"], settings["languages"])
    known = pretraining.tokenizer(documents.vocabulary(world), architecture)
    tokens = pretraining.batches(world, known, settings["steps"], settings["batch_size"])
    model = pretraining.untrained(architecture, len(known), settings["seed"])
    pretraining.train(model, tokens, float(settings["learning_rate"]), lambda said: print(said, flush=True))
    model.eval()
    reached = {name: gate(model, known, world, name) for name in BENCHMARKS}
    for name, found in reached.items():
        print(f"{architecture}, {name}: {found}", flush=True)
        if found["share"] < GATE:
            raise GateError(
                f"{architecture}: accuracy on {name} is {found['accuracy']:.3f}, {found['share']:.0%} of the way from"
                f" chance ({found['chance']:.3f}) to the true distribution's {found['truth']:.3f}; {GATE:.0%} is"
                " needed. Raise miniature.steps or change miniature.seed."
            )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    known.save_pretrained(folder)
    (folder / "README.md").write_text(
        f"---\nlicense: apache-2.0\n---\n\n# {architecture} (miniature)\n\nA tiny model of polycal's made-up world.\n"
    )
    written = {"folder": ".", **checkpoints.describe(folder)}
    files.write_json(folder / "gate.json", {**stamp(), **written, "gate": reached})


def gate(model: Any, known: Any, world: World, benchmark: str) -> dict[str, float]:
    """Accuracy, mean over languages, of the answer texts; of chance; of the truth; and the share reached."""
    asked = [(q, c) for q, c, split in questions(world, benchmark, GATE_QUESTIONS) if split == "test"]
    gold = np.array([choice.gold for _, choice in asked])
    right = []
    for language in world.languages:
        shown = [
            prompts.prompt(
                {
                    "question_id": q,
                    "question": world.question(language, c.fact),
                    "options": _options(world, language, c),
                },
                [],
                "texts",
            )
            for q, c in asked
        ]
        answers = multiple_choice.answer(model, known, shown, 8192)
        probabilities = calibration.option_probabilities(
            answers.logprob, "token", option_tokens=answers.tokens
        )
        right.append(calibration.accuracy(probabilities, gold))
    accuracy = float(np.mean(right))
    chance = float(np.mean([1 / len(c.options) for _, c in asked]))
    truth = float(np.mean([int(np.argmax(c.truth)) == c.gold for _, c in asked]))
    share = (accuracy - chance) / (truth - chance)
    return {"accuracy": accuracy, "chance": chance, "truth": truth, "share": share}
