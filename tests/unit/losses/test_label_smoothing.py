import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from polycal.losses import label_smoothing
from polycal.losses.label_smoothing import smoothed_cross_entropy

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


@pytest.fixture
def small_tiles(monkeypatch):
    """Blocks of at most 5 tokens in tiles of 700 columns: tokens and, with a larger V, the vocabulary are cut."""
    for name, value in {"BLOCK": 1, "LEAST_ROWS": 5, "TILE": 1, "LEAST_COLUMNS": 700}.items():
        monkeypatch.setattr(label_smoothing, name, value)


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_float32_against_float64(beta, softcap):
    given = inputs()
    for found, wanted in zip(own(*given, beta, softcap), plain(*given, beta, softcap), strict=True):
        assert far(found, wanted) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_cut_over_tokens_and_vocabulary_it_is_as_exact(beta, softcap, small_tiles):
    given = inputs(v=2503)
    assert label_smoothing._sizes(16, 2503) == (4, 700, 2100)
    for found, wanted in zip(own(*given, beta, softcap), plain(*given, beta, softcap), strict=True):
        assert far(found, wanted) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("v", [699, 1400, 1401, 4903])
def test_tiles_that_are_not_kept_are_as_exact(v, softcap, monkeypatch):
    for name, value in {"FEW": 2, "TILE": 1, "LEAST_COLUMNS": 700}.items():
        monkeypatch.setattr(label_smoothing, name, value)
    assert label_smoothing._sizes(16, v) == (16, min(v, 700), {699: 0, 1400: 0, 1401: 700, 4903: 3500}[v])
    given = inputs(v=v)
    for found, wanted in zip(own(*given, 0.1, softcap), plain(*given, 0.1, softcap), strict=True):
        assert far(found, wanted) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 30.0])
def test_one_token_alone(softcap):
    hidden, weight, labels = inputs()
    given = hidden[1:2], weight, labels[1:2]
    for found, wanted in zip(own(*given, 0.1, softcap), plain(*given, 0.1, softcap), strict=True):
        assert far(found, wanted) <= 1e-5


def test_one_label_for_all_tokens():
    hidden, weight, labels = inputs()
    given = hidden, weight, torch.full_like(labels, 7)
    for found, wanted in zip(own(*given, 0.1), plain(*given, 0.1), strict=True):
        assert far(found, wanted) <= 1e-5


def test_beta_zero_is_the_ordinary_loss():
    hidden, weight, labels = inputs()
    ordinary = torch.nn.functional.cross_entropy(hidden @ weight.T, labels)
    assert float(smoothed_cross_entropy(hidden, weight, labels, 0.0)) == pytest.approx(
        float(ordinary), rel=1e-6
    )


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_float64_stays_float64(softcap, small_tiles):
    given = inputs(v=1503, dtype=torch.float64)
    for found, wanted in zip(own(*given, 0.3, softcap), plain(*given, 0.3, softcap), strict=True):
        assert found.dtype == torch.float64
        assert far(found, wanted) <= 1e-13


class Watched(TorchDispatchMode):
    """The operations that ran, and the most numbers in any one tensor that they returned."""

    def __init__(self):
        super().__init__()
        self.operations, self.numbers = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.operations.add(func.overloadpacket.__name__)
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return found


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "v"), [(400, 70001), (128, 20011), (48, 70001)])
def test_logits_of_all_tokens_are_never_held(n, v, dtype, softcap):
    hidden, weight, labels = inputs(n=n + 1, d=4, v=v, dtype=dtype)  # one of them is no target
    rows, columns, kept = label_smoothing._sizes(n, v)
    assert columns < v / 2
    with Watched() as seen:
        own(hidden, weight, labels, 0.1, softcap)
    assert seen.numbers <= (rows + 1) * min(kept + columns, v) <= 0.85 * n * v


@pytest.mark.parametrize(
    ("n", "v"), [(1, 32000), (128, 256000), (512, 32000), (4096, 128256), (5, 3), (0, 7)]
)
def test_blocks_are_even_and_bounded(n, v):
    rows, columns, kept = label_smoothing._sizes(n, v)
    assert 0 <= kept < v
    assert rows * v <= max(label_smoothing.BLOCK, label_smoothing.LEAST_ROWS * v)
    assert 1 <= rows <= max(n, 1)
    assert rows * (-(-n // rows)) - n < max(1, -(-n // rows))
    assert 1 <= columns <= v


def test_without_autograd_no_gradient_is_computed(small_tiles):
    hidden, weight, labels = inputs()
    given = hidden[4:], weight.requires_grad_(), labels[4:], 0.1
    products = {"addmm", "addmm_"}
    with Watched() as learning:
        label_smoothing.token_statistics(*given)
    with torch.no_grad(), Watched() as looking:
        found = label_smoothing.token_statistics(*given)
    assert learning.operations & products
    assert not looking.operations & products
    assert not found.loss.requires_grad


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_a_frozen_input_gets_no_gradient_and_changes_no_other(frozen):
    hidden, weight, labels = inputs()
    _, grad_hidden, grad_weight = own(hidden, weight, labels, 0.1)
    given = {"hidden": hidden.clone(), "weight": weight.clone()}
    other = next(name for name in given if name != frozen)
    given[other].requires_grad_()
    smoothed_cross_entropy(**given, labels=labels, beta=0.1).backward()
    assert given[frozen].grad is None
    assert torch.equal(given[other].grad, grad_weight if other == "weight" else grad_hidden)


def test_going_backward_twice_is_refused():
    hidden, weight, labels = inputs()
    loss = smoothed_cross_entropy(hidden.requires_grad_(), weight, labels, 0.1)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_autocast_does_not_make_it_coarser():
    hidden, weight, labels = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = own(hidden, weight, labels, 0.1)
        mixed = own(hidden.bfloat16(), weight, labels, 0.1)
    for one, exact in zip(found, plain(hidden, weight, labels, 0.1), strict=True):
        assert far(one, exact) <= 1e-5
    assert [grad.dtype for grad in mixed[1:]] == [torch.bfloat16, torch.float32]


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
        assert far(found, wanted) <= (1e-5 if softcap is None else 1e-4)


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


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_no_target_at_all_is_zero(beta, softcap):
    hidden, weight, labels = inputs()
    loss, *grads = own(hidden, weight, torch.full_like(labels, -100), beta, softcap)
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


@pytest.mark.parametrize("count", [7, 7.0, torch.tensor(7)])
def test_gradients_are_divided_by_the_count_and_scaled_as_the_loss_is(count, small_tiles):
    hidden, weight, labels = inputs(v=1501)
    bias = torch.linspace(-1, 1, len(weight))
    given = [t.double().requires_grad_() for t in (hidden, weight, bias)]
    z = given[0] @ given[1].T + given[2]
    reference = torch.nn.functional.cross_entropy(z, labels, label_smoothing=0.2, reduction="sum")
    exact = torch.autograd.grad(3 * reference / 7, given)
    h, w, b = learned = [t.requires_grad_() for t in (hidden, weight, bias)]
    loss = 3 * smoothed_cross_entropy(h, w, labels, 0.2, bias=b, num_items=count)
    assert far(loss, 3 * reference / 7) <= 1e-6
    for grad, wanted in zip(torch.autograd.grad(loss, learned), exact, strict=True):
        assert far(grad, wanted) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_bias_and_statistics(softcap, small_tiles):
    hidden, weight, labels = inputs(v=1501)
    wanted = labels != -100
    bias = torch.linspace(-1, 1, len(weight), requires_grad=True)
    found = label_smoothing.token_statistics(
        hidden[wanted], weight, labels[wanted], 0.2, bias=bias, softcap=softcap
    )
    z = hidden[wanted].double() @ weight.T.double() + bias.double()
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    logp = z.log_softmax(-1)
    reference = torch.nn.functional.cross_entropy(z, labels[wanted], label_smoothing=0.2, reduction="sum")
    assert far(found.loss, reference) <= 1e-6
    assert far(found.nll, -logp.gather(1, labels[wanted, None])[:, 0]) <= 1e-6
    assert far(found.entropy, -(logp.exp() * logp).sum(1)) <= 1e-5
    assert torch.equal(found.correct, z.argmax(1) == labels[wanted])
    (grad,) = torch.autograd.grad(found.loss, bias)
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
    label_smoothing.install(model, 0.1)
    found = model(input_ids=ids, labels=labels)
    assert far(found.loss, reference) <= 1e-5
    for grad, wanted in zip(torch.autograd.grad(found.loss, list(model.parameters())), exact, strict=True):
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
        ({"softcap": 0.0}, "above 0"),
        ({"bias": torch.zeros(52)}, r"must be \[53\]"),
    ],
)
def test_wrong_input_is_refused(change, words):
    hidden, weight, labels = inputs()
    with pytest.raises(ValueError, match=words):
        smoothed_cross_entropy(
            **{"hidden": hidden, "weight": weight, "labels": labels, "beta": 0.1, **change}
        )


def test_a_model_that_scales_its_logits_is_refused():
    config = CohereConfig(**{**SMALL, "num_key_value_heads": 2}, logit_scale=0.0625)
    with pytest.raises(ValueError, match="logit_scale"):
        label_smoothing.install(CohereForCausalLM(config), 0.1)
