import subprocess
import sys

import pytest
import torch
from helpers import smoothed_loss
from helpers.smoothed_loss import from_full_logits, from_tiles, inputs, relative_error

from polycal.losses import logit_tiles, smoothed_cross_entropy, token_statistics
from polycal.losses.logit_tiles import TileSizes, tile_sizes

BETAS = [0.0, 0.05, 0.1, 0.5, 0.999]


def assert_close(actual, expected):
    """Loss and gradients agree within 1e-5, relatively."""
    for actual_tensor, expected_tensor in zip(actual, expected, strict=True):
        assert relative_error(actual_tensor, expected_tensor) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_float32_against_float64(beta, softcap):
    given = inputs()
    assert_close(from_tiles(*given, beta, softcap), from_full_logits(*given, beta, softcap))


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_blocks_and_tiles_do_not_change_the_result(beta, softcap, small_tiles):
    given = inputs(v=2503)
    assert tile_sizes(16, 2503) == TileSizes(4, 700, 2100)
    assert_close(from_tiles(*given, beta, softcap), from_full_logits(*given, beta, softcap))


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("v", [699, 1400, 1401, 4903])
def test_recomputed_tiles_do_not_change_the_result(v, softcap, monkeypatch):
    for name, value in {"SMALL_BATCH_TOKENS": 2, "TILE_LOGITS": 1, "MIN_TILE_COLUMNS": 700}.items():
        monkeypatch.setattr(logit_tiles, name, value)
    assert tile_sizes(16, v) == TileSizes(16, min(v, 700), {699: 0, 1400: 0, 1401: 700, 4903: 3500}[v])
    given = inputs(v=v)
    assert_close(from_tiles(*given, 0.1, softcap), from_full_logits(*given, 0.1, softcap))


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize(("n", "v"), [(140, 70001), (48, 70001)])
def test_a_large_vocabulary_against_float64(n, v, softcap):
    given = inputs(n=n, d=4, v=v)
    assert_close(from_tiles(*given, 0.1, softcap), from_full_logits(*given, 0.1, softcap))


@pytest.mark.parametrize("softcap", [None, 30.0])
def test_a_single_token(softcap):
    hidden, weight, labels = inputs()
    given = hidden[1:2], weight, labels[1:2]
    assert_close(from_tiles(*given, 0.1, softcap), from_full_logits(*given, 0.1, softcap))


def test_one_label_for_all_tokens():
    hidden, weight, labels = inputs()
    given = hidden, weight, torch.full_like(labels, 7)
    assert_close(from_tiles(*given, 0.1), from_full_logits(*given, 0.1))


def test_beta_zero_is_the_ordinary_loss():
    hidden, weight, labels = inputs()
    ordinary = torch.nn.functional.cross_entropy(hidden @ weight.T, labels)
    assert float(smoothed_cross_entropy(hidden, weight, labels, 0.0)) == pytest.approx(
        float(ordinary), rel=1e-6
    )


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_float64_stays_float64(softcap, small_tiles):
    given = inputs(v=1503, dtype=torch.float64)
    for actual, expected in zip(
        from_tiles(*given, 0.3, softcap), from_full_logits(*given, 0.3, softcap), strict=True
    ):
        assert actual.dtype == torch.float64
        assert relative_error(actual, expected) <= 1e-13


def test_autocast_does_not_lower_the_precision():
    hidden, weight, labels = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = from_tiles(hidden, weight, labels, 0.1)
        mixed = from_tiles(hidden.bfloat16(), weight, labels, 0.1)
    assert_close(actual, from_full_logits(hidden, weight, labels, 0.1))
    assert [grad.dtype for grad in mixed[1:]] == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_bfloat16_is_no_worse_than_the_plain_implementation(beta, softcap):
    given = inputs(dtype=torch.bfloat16)
    exact = from_full_logits(*given, beta, softcap)
    tiled = from_tiles(*given, beta, softcap)
    plain = from_full_logits(*given, beta, softcap, dtype=torch.bfloat16)
    for tiled_tensor, plain_tensor, exact_tensor in zip(tiled, plain, exact, strict=True):
        # 2⁻⁸ is the error of rounding the exact result to bfloat16
        limit = max(relative_error(plain_tensor, exact_tensor), 2**-8)
        assert relative_error(tiled_tensor, exact_tensor) <= limit


@pytest.mark.parametrize("softcap", [None, 30.0])
def test_huge_hidden_states_do_not_overflow(softcap):
    given = inputs(scale=1e4)
    for actual, expected in zip(
        from_tiles(*given, 0.1, softcap), from_full_logits(*given, 0.1, softcap), strict=True
    ):
        assert torch.isfinite(actual).all()
        assert relative_error(actual, expected) <= (1e-5 if softcap is None else 1e-4)


def test_ignored_tokens_change_nothing():
    smoothed_loss.check_that_ignored_tokens_change_nothing(from_tiles)


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", BETAS)
def test_the_loss_without_targets_is_zero(beta, softcap):
    hidden, weight, labels = inputs()
    loss, *grads = from_tiles(hidden, weight, torch.full_like(labels, -100), beta, softcap)
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
def test_gradients_are_divided_by_the_count_and_multiplied_like_the_loss(count, small_tiles):
    hidden, weight, labels = inputs(v=1501)
    bias = torch.linspace(-1, 1, len(weight))
    given = [t.double().requires_grad_() for t in (hidden, weight, bias)]
    z = given[0] @ given[1].T + given[2]
    reference = torch.nn.functional.cross_entropy(z, labels, label_smoothing=0.2, reduction="sum")
    exact = torch.autograd.grad(3 * reference / 7, given)
    h, w, b = parameters = [t.requires_grad_() for t in (hidden, weight, bias)]
    loss = 3 * smoothed_cross_entropy(h, w, labels, 0.2, bias=b, num_items=count)
    assert relative_error(loss, 3 * reference / 7) <= 1e-6
    for grad, expected in zip(torch.autograd.grad(loss, parameters), exact, strict=True):
        assert relative_error(grad, expected) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_bias_and_statistics(softcap, small_tiles):
    hidden, weight, labels = inputs(v=1501)
    is_target = labels != -100
    targets = labels[is_target]
    bias = torch.linspace(-1, 1, len(weight), requires_grad=True)
    statistics = token_statistics(hidden[is_target], weight, targets, 0.2, bias=bias, softcap=softcap)
    z = hidden[is_target].double() @ weight.T.double() + bias.double()
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    logp = z.log_softmax(-1)
    reference = torch.nn.functional.cross_entropy(z, targets, label_smoothing=0.2, reduction="sum")
    assert relative_error(statistics.loss, reference) <= 1e-6
    assert relative_error(statistics.nll, -logp.gather(1, targets[:, None])[:, 0]) <= 1e-6
    assert relative_error(statistics.entropy, -(logp.exp() * logp).sum(1)) <= 1e-5
    assert torch.equal(statistics.correct, z.argmax(1) == targets)
    (grad,) = torch.autograd.grad(statistics.loss, bias)
    (exact,) = torch.autograd.grad(reference, bias)
    assert relative_error(grad, exact) <= 1e-5


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


def test_torch_is_enough():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['transformers', 'pandas', 'pyarrow', 'pydantic']))\n"
        "import torch\n"
        "from polycal.losses import smoothed_cross_entropy\n"
        "smoothed_cross_entropy(torch.ones(2, 3), torch.ones(4, 3), torch.tensor([0, 3]), 0.1)\n"
        "assert not [m for m in sys.modules if m.startswith('polycal.') and m.split('.')[1] != 'losses']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
