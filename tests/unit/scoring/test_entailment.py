"""Decisions of an entailment model: of a constructed one, in batches, and what is refused."""

import json

import pytest
import torch
from helpers import entailment as constructed
from helpers import models as tiny
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from polycal.data.model_loading import ModelError
from polycal.scoring import entailment


def loaded(folder, **changes):
    return entailment.load(constructed.save(folder, **changes), "float32", "eager")


def test_a_pair_is_judged_in_its_order_whatever_it_is_batched_with(tmp_path, monkeypatch):
    model = loaded(tmp_path)
    pairs = [("yes a", "b"), ("b", "yes a"), ("no", "b c d e f g"), ("yes", "yes"), ("yes a b c d", "no")]
    expected = [True, False, False, True, True]
    assert model.entails(pairs) == expected
    assert [model.entails([pair])[0] for pair in pairs] == expected
    monkeypatch.setattr(entailment, "TOKENS_PER_BATCH", {"cpu": 8, "cuda": 8})
    assert model.entails(pairs) == expected
    assert model.entails([]) == []
    assert (model.pairs, model.cut) == (15, 0)


def test_a_pair_that_is_too_long_loses_its_beginning(tmp_path):
    model = loaded(tmp_path, window=6)
    assert model.entails([("yes a b c", "a b"), ("yes a b c d", "a b"), ("a yes b c d", "a b")]) == [
        True,
        False,
        True,
    ]
    assert model.cut == 2


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({0: "LABEL_0", 1: "LABEL_1"}, "LABEL_0, LABEL_1"),
        ({0: "not_entailment", 1: "neutral"}, "not_entailment, neutral"),
    ],
)
def test_a_model_without_the_label_is_refused(tmp_path, labels, named):
    with pytest.raises(ModelError, match=f"exactly one label named entailment, .* has {named}; name a model"):
        loaded(tmp_path, labels=labels)


def test_a_language_model_is_refused_by_its_labels_or_by_its_weights(tmp_path):
    folder = tiny.save("llama", tmp_path)
    with pytest.raises(ModelError, match="exactly one label named entailment"):
        entailment.load(folder, "float32", "eager")
    config = json.loads((folder / "config.json").read_text())
    named = {"id2label": {"0": "entailment", "1": "other"}, "label2id": {"entailment": 0, "other": 1}}
    (folder / "config.json").write_text(json.dumps({**config, **named}))
    with pytest.raises(ModelError, match=r"1 weights of a classifier are missing .*score\.weight") as refused:
        entailment.load(folder, "float32", "eager")
    assert "\n" not in str(refused.value)


def test_a_classifier_that_is_not_finite_is_refused_by_its_weights_or_by_its_logits(tmp_path):
    folder = constructed.save(tmp_path)
    weights = load_file(folder / "model.safetensors")
    # the component of "yes" is positive, so that its product and the bias add to more than float32 has
    overflowing = {"classifier.bias": torch.full((3,), 3.4e38)}
    overflowing["classifier.weight"] = weights["classifier.weight"] * 3.4e38
    save_file({**weights, **overflowing}, folder / "model.safetensors", {"format": "pt"})
    model = entailment.load(folder, "float32", "eager")
    with pytest.raises(ModelError, match="a logit is not finite in float32; the model needs a wider dtype"):
        model.entails([("yes", "no")])
    save_file(
        {**weights, "classifier.bias": torch.tensor([0, torch.nan, 0])},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ModelError, match=r"classifier\.bias contains values that are not finite in float32"):
        entailment.load(folder, "float32", "eager")


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "deberta-v2"])
def test_decisions_are_those_of_the_model_on_each_pair_alone(tmp_path, family):
    torch.manual_seed(0)
    more = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]} if family == "deberta-v2" else {}
    config = AutoConfig.for_model(
        family, vocab_size=259, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=128, type_vocab_size=2, pad_token_id=0, initializer_range=0.5,
        id2label={0: "entailment", 1: "neutral", 2: "contradiction"}, **more,
    )  # fmt: skip
    network = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    tokenizer = tiny.tokenizer()
    pairs = [(f"Is it {n}? " + "yes " * (n % 7), f"Is it {n}? {n * n}") for n in range(40)]
    with torch.no_grad():
        logits = torch.cat([network(**tokenizer(*pair, return_tensors="pt")).logits for pair in pairs])
        # so that each label is the most likely one of some pairs
        getattr(network.classifier, "out_proj", network.classifier).bias -= logits.median(0).values
    alone = ((logits - logits.median(0).values).argmax(1) == 0).tolist()
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert 0 < sum(alone) < len(alone)
    assert entailment.load(tmp_path, "float32", "eager").entails(pairs) == alone
