"""Choose oneDNN only where PyTorch's default is slow and oneDNN computes in float32."""

from collections.abc import Iterator
from types import MappingProxyType

import pytest
import torch

from polycal.data import float32_library
from polycal.data.float32_library import DEFAULT, MIN_WIDTH, ONEDNN

AMD = {"cpu_name": "AMD EPYC", "avx512_f": True, "amx_tile": False}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    float32_library.choose(0)


def on(processor: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(processor))


@pytest.mark.parametrize(
    "other",
    [{"cpu_name": "Intel Xeon"}, {"avx512_f": False}, {"amx_tile": True}],
    ids=["vendor", "no AVX-512", "AMX"],
)
def test_default_on_other_processors(other: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    on({**AMD, **other}, monkeypatch)
    assert float32_library.choose(4096) == DEFAULT


def test_default_where_the_processor_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    on({"architecture": "arm64"}, monkeypatch)
    assert float32_library.choose(4096) == DEFAULT


def test_onednn_for_wide_models_only(monkeypatch: pytest.MonkeyPatch) -> None:
    on(AMD, monkeypatch)
    monkeypatch.setattr(float32_library, "_is_exact", lambda: True)
    assert float32_library.choose(MIN_WIDTH) == ONEDNN
    assert float32_library.used() == ONEDNN
    assert float32_library.choose(MIN_WIDTH - 1) == DEFAULT
    assert torch.backends.mkldnn.matmul.fp32_precision == "none"


def test_default_where_onednn_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that claims to be AMD's but rounds, the setting is withdrawn."""
    on(AMD, monkeypatch)
    product = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: product(a.bfloat16().float(), b))
    assert float32_library.choose(4096) == DEFAULT
    assert float32_library.used() == DEFAULT


@pytest.mark.parametrize("shape", [(64, 640, 2048), (300, 512, 700), (1, 640, 5000), (257, 1031, 129)])
def test_chosen_library_multiplies_in_float32(shape: tuple[int, int, int]) -> None:
    """Whatever this processor has: products and both of their gradients have float32's error, not bfloat16's."""
    float32_library.choose(4096)
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, inner, generator=generator)
    w = torch.randn(columns, inner, generator=generator)
    g = torch.randn(rows, columns, generator=generator)
    for product, exact, terms in (
        (torch.nn.functional.linear(x, w), x.double() @ w.double().T, inner),
        (g @ w, g.double() @ w.double(), columns),
        (torch.zeros(columns, inner).addmm_(g.T, x), g.double().T @ x.double(), rows),
    ):
        # Rounded sums of n products have an error of about n·2^-24 at most; factors in bfloat16 would make it √n·2^-8.
        assert (product - exact).abs().max() < 8 * terms * 2**-24
