"""Fine-tuning with TRL and DeepSpeed, compared with a plain training loop over full logits."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from helpers import models
from helpers.trainings import gathered, train
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

from polycal.artifacts import checkpoints, records
from polycal.data import tokenized
from polycal.scoring import models as scoring_models
from polycal.training import batches
from polycal.training.blockwise_adamw import BlockwiseAdamW

pytestmark = pytest.mark.apart


def talk(asked, said, split="train"):
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return {"messages": messages, "source": "s", "language": "en", "split": split}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    for architecture in ("llama", "gemma2"):
        models.save(architecture, folder / architecture)
    # DeepSpeed partitions only parameters of at least 100,000 numbers
    models.save("llama", folder / "wide", vocabulary=4000)
    rows = [talk("q" * n, "a" * (2 * n)) for n in range(1, 7)]
    empty = {**rows[0], "messages": []}
    records.write(folder / "rows.parquet", [*rows, empty, talk("q", "b", "heldout")], records.CONVERSATION)
    return folder


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize(("beta", "reduction"), [("0.1", "mean"), ("0", "sum")])
def test_deepspeed_trains_as_a_plain_loop_does(given, architecture, beta, reduction):
    name = f"{architecture[:5]}-{reduction}"
    said, out, curve = train(given, name, beta, architecture, reduction=reduction)
    assert (said["engine"], said["zero_stage"], said["steps"]) == ("DeepSpeedEngine", 2, 4)
    # six conversations and two padding rows per epoch
    assert (said["conversations"], said["filled"], said["skipped"]) == (6, 4, {"empty": 1})

    tokenizer = AutoTokenizer.from_pretrained(given / architecture)
    model = AutoModelForCausalLM.from_pretrained(
        given / architecture, dtype=torch.float32, attn_implementation="eager"
    )
    talks = records.read_conversations(given / "rows.parquet", "train")["messages"].to_pylist()
    rows, _ = tokenized.tokenize(tokenizer, talks, "tulu", 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 4)
    for line, numbers in zip(curve, batches.training_order(6, "2", 4, "0").reshape(4, 4), strict=True):
        logits, labels = [], []
        for number in numbers[numbers >= 0]:
            tokens, targets = rows.row(int(number))
            ids = torch.from_numpy(tokens).long()
            place = torch.from_numpy(targets).nonzero()[:, 0]
            logits.append(model(input_ids=ids[None]).logits[0, place - 1])
            labels.append(ids[place])
        z, y = torch.cat(logits), torch.cat(labels)
        loss = torch.nn.functional.cross_entropy(z, y, label_smoothing=float(beta), reduction=reduction)
        nll = torch.nn.functional.cross_entropy(z, y)
        loss.backward()
        assert float(line["targets"]) == len(y)
        assert float(line["nll"]) == pytest.approx(float(nll.detach()), rel=1e-4)
        assert float(line["loss"]) == pytest.approx(float(loss.detach()), rel=1e-3)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    trained = AutoModelForCausalLM.from_pretrained(checkpoints.read(out).folder, dtype=torch.float32)
    for (name, ours), theirs in zip(trained.named_parameters(), model.parameters(), strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-4, name


def test_neither_micro_batch_nor_zero_stage_changes_the_result(given):
    first, out, curve = train(given, "whole", "0.1", micro_batch_size=4, zero_stage=0)
    weights = load_file(checkpoints.read(out).folder / "model.safetensors")
    # in another process, because ZeRO-3 partitions all models that its process loads afterwards
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [
            train(given, "split", "0.1", micro_batch_size=1, zero_stage=2),
            pool.submit(partial(train, given, "zero3", "0.1", micro_batch_size=2, zero_stage=3)).result(),
        ]
    for said, place, other in found:
        assert [float(a["nll"]) for a in other] == pytest.approx([float(a["nll"]) for a in curve], rel=1e-5)
        assert said["heldout_nll"] == pytest.approx(first["heldout_nll"], rel=1e-5)
        theirs = load_file(checkpoints.read(place).folder / "model.safetensors")
        assert set(theirs) == set(weights)
        for name, ours in weights.items():
            assert float((ours - theirs[name]).norm() / ours.norm()) < 1e-5


def test_the_optimizer_gets_the_gradient_of_the_global_batch_however_it_is_cut(given, monkeypatch):
    """At stage 0 DeepSpeed divides the gradient by its number of accumulation steps, which is therefore always 1.

    AdamW hides a constant factor, so the weights alone would hardly show it.
    """
    norms, step = [], BlockwiseAdamW.step

    def noted(self, closure=None):
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))
        return step(self, closure)

    monkeypatch.setattr(BlockwiseAdamW, "step", noted)
    cuts = {"one": 4, "two": 2, "four": 1}
    for name, size in cuts.items():
        train(given, f"gradient-{name}", "0.1", zero_stage=0, micro_batch_size=size, max_grad_norm="1e6")
    train(
        given,
        "gradient-tokens",
        "0.1",
        zero_stage=0,
        micro_batch_size=None,
        tokens_per_micro_batch=60,
        max_grad_norm="1e6",
    )
    one, *others = np.reshape(norms, (4, -1))
    assert len(one) == 4
    for other in others:
        np.testing.assert_allclose(other[:2], one[:2], rtol=1e-5)


def test_the_head_is_gathered_once_a_micro_batch_and_never_for_a_chunk(given):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        steps, targets, times = pool.submit(gathered, given).result()
    micro_batches = 4 * steps
    assert targets > 3 * micro_batches
    # the loss of held-out conversations at the end gathers the head once or twice more
    assert micro_batches <= times <= micro_batches + 2


def test_recomputed_activations_change_nothing_and_bfloat16_little(given):
    plain, _, curve = train(given, "kept", "0.1")
    again, _, recomputed = train(given, "recomputed", "0.1", gradient_checkpointing=True)
    assert [line["loss"] for line in recomputed] == [line["loss"] for line in curve]
    assert again["content"] == plain["content"]
    coarse, _, half = train(given, "half", "0.1", precision="bfloat16")
    assert coarse["content"] != plain["content"]
    for a, b in zip(half, curve, strict=True):
        assert float(a["targets"]) == float(b["targets"])
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=0.02)


def test_the_same_cell_gives_the_same_bytes_and_can_be_scored(given):
    first, out, _ = train(given, "first", dropout="0.1")
    again, _, _ = train(given, "again", dropout="0.1")
    other, _, _ = train(given, "other", "0.2", dropout="0.1")
    assert first["content"] == again["content"] != other["content"]
    model, tokenizer = scoring_models.load(checkpoints.read(out).folder, "float32", "eager", "cpu")
    assert tokenizer("é").input_ids == models.tokenizer()("é").input_ids
    assert model.config.vocab_size == 259
