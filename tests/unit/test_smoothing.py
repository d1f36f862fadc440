import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from polycal import smoothing
from polycal.smoothing import smoothed_cross_entropy

BETAS = [0.0, 0.05, 0.1, 0.5, 0.999]


def inputs(n=17, d=12, v=53, scale=1.0, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.randn(n, d, generator=generator) * scale).to(dtype)
    weight = torch.randn(v, d, generator=generator).to(dtype)
    labels = torch.randint(0, v, (n,), generator=generator)
    labels[0], labels[1], labels[2], labels[3] = 0, v - 1, -100, 0
    return hidden, weight, labels


def plain(hidden, weight, labels, beta, softcap=None, dtype=torch.float64):
    """Full logits, in ``dtype``: the reference."""
    h, w = (t.detach().to(dtype).requires_grad_() for t in (hidden, weight))
    z = h @ w.T
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    loss = torch.nn.functional.cross_entropy(z, labels, label_smoothing=beta, ignore_index=-100)
    return (loss, *torch.autograd.grad(loss, (h, w)))


def own(hidden, weight, labels, beta, softcap=None):
    h, w = (t.detach().clone().requires_grad_() for t in (hidden, weight))
    loss = smoothed_cross_entropy(h, w, labels, beta, softcap=softcap)
    return (loss, *torch.autograd.grad(loss, (h, w)))


def far(found, wanted):
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("tile", [40, smoothing.TILE])
def test_float32_against_float64(beta, softcap, tile, monkeypatch):
    # a tile of 40 numbers: tokens and, with V above its least width of 1024, the vocabulary are both cut
    monkeypatch.setattr(smoothing, "TILE", tile)
    given = inputs(v=2503 if tile == 40 else 53)
    for found, wanted in zip(own(*given, beta, softcap), plain(*given, beta, softcap), strict=True):
        assert far(found, wanted) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_bfloat16_is_no_worse_than_the_plain_implementation(beta, softcap):
    given = inputs(dtype=torch.bfloat16)
    wanted = plain(*given, beta, softcap)
    ours = own(*given, beta, softcap)
    theirs = plain(*given, beta, softcap, dtype=torch.bfloat16)
    for mine, other, exact in zip(ours, theirs, wanted, strict=True):
        # half a unit in the last place of bfloat16 is the rounding of the result itself
        assert far(mine, exact) <= max(far(other, exact), 2**-8)


@pytest.mark.parametrize("softcap", [None, 30.0])
def test_huge_hidden_states_do_not_overflow(softcap):
    given = inputs(scale=1e4)
    for found, wanted in zip(own(*given, 0.1, softcap), plain(*given, 0.1, softcap), strict=True):
        assert torch.isfinite(found).all()
        assert far(found, wanted) <= 1e-4


def test_masked_rows_change_nothing():
    hidden, weight, labels = inputs()
    more = torch.cat([hidden, torch.full((5, hidden.shape[1]), 7.0)])
    masked = torch.cat([labels, torch.full((5,), -100)])
    loss, grad_hidden, grad_weight = own(hidden, weight, labels, 0.1)
    loss_more, grad_more, grad_weight_more = own(more, weight, masked, 0.1)
    assert loss == loss_more
    assert torch.equal(grad_weight, grad_weight_more)
    assert torch.equal(grad_more[: len(hidden)], grad_hidden)
    assert not grad_more[len(hidden) :].any()


def test_no_target_at_all_is_zero():
    hidden, weight, labels = inputs()
    loss, *grads = own(hidden, weight, torch.full_like(labels, -100), 0.1)
    assert loss == 0
    assert not any(g.any() for g in grads)


def test_parts_of_a_global_batch_add_up_to_its_mean():
    hidden, weight, labels = inputs(n=20)
    count = int((labels != -100).sum())
    parts = [slice(0, 3), slice(3, 20)]
    summed = sum(smoothed_cross_entropy(hidden[p], weight, labels[p], 0.1, num_items=count) for p in parts)
    assert float(summed) == pytest.approx(
        float(smoothed_cross_entropy(hidden, weight, labels, 0.1)), rel=1e-6
    )


def test_bias_and_statistics():
    hidden, weight, labels = inputs()
    wanted = labels != -100
    bias = torch.linspace(-1, 1, len(weight), requires_grad=True)
    found = smoothing.token_statistics(hidden[wanted], weight, labels[wanted], 0.2, bias=bias)
    z = hidden[wanted].double() @ weight.T.double() + bias.double()
    logp = z.log_softmax(-1)
    reference = torch.nn.functional.cross_entropy(z, labels[wanted], label_smoothing=0.2, reduction="sum")
    assert far(found.loss_sum, reference) <= 1e-6
    assert far(found.nll, -logp.gather(1, labels[wanted, None])[:, 0]) <= 1e-6
    assert far(found.entropy, -(logp.exp() * logp).sum(1)) <= 1e-5
    assert torch.equal(found.correct, z.argmax(1) == labels[wanted])
    (grad,) = torch.autograd.grad(found.loss_sum, bias)
    (exact,) = torch.autograd.grad(reference, bias)
    assert far(grad, exact) <= 1e-5


SMALL = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize(
    "make",
    [
        lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
        lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, tie_word_embeddings=True)),
    ],
    ids=["untied", "tied with soft-cap"],
)
def test_installed_in_a_model_it_gives_the_gradients_of_full_logits(make):
    torch.manual_seed(0)
    model = make()
    ids = torch.randint(3, 61, (2, 9))
    labels = ids.clone()
    labels[:, :4] = -100
    z = model(input_ids=ids).logits[:, :-1].flatten(0, 1).double()
    reference = torch.nn.functional.cross_entropy(
        z, labels[:, 1:].flatten(), label_smoothing=0.1, reduction="sum"
    )
    exact = torch.autograd.grad(reference, list(model.parameters()))
    smoothing.install(model, 0.1)
    found = model(input_ids=ids, labels=labels)
    assert far(found.loss_sum, reference) <= 1e-5
    for grad, wanted in zip(
        torch.autograd.grad(found.loss_sum, list(model.parameters())), exact, strict=True
    ):
        assert torch.allclose(grad, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beta": 1.0}, r"lie in \[0, 1\)"),
        ({"beta": -0.1}, r"lie in \[0, 1\)"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "labels"),
        ({"labels": torch.full((17,), 53)}, "0 … 52"),
        ({"weight": torch.zeros(53, 11)}, r"\[V, D\]"),
        ({"hidden": torch.zeros(17, 12, dtype=torch.long)}, "floating type"),
    ],
)
def test_wrong_input_is_refused(change, words):
    hidden, weight, labels = inputs()
    with pytest.raises(ValueError, match=words):
        smoothed_cross_entropy(
            **{"hidden": hidden, "weight": weight, "labels": labels, "beta": 0.1, **change}
        )
