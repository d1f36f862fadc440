"""The errors of the fused loss over ten seeds, and its compilation for GPUs that are not here."""

import os
import subprocess
import sys

import pytest
import torch
from helpers.fused_loss import KINDS, bfloat16_inputs, from_plain_head, on_device, use_fused
from helpers.smoothed_loss import from_full_logits, from_tiles, relative_error

SEEDS = 10
BUDGET = 1.05
ROUNDING = 2e-7
"""A loss in float32 may have this relative error, whatever the error of the plain head."""


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_error_in_bfloat16_over_ten_seeds(kind, beta, softcap, monkeypatch):
    use_fused(monkeypatch, columns=1024, block_tokens=24)
    errors = []
    for seed in range(SEEDS):
        given = *bfloat16_inputs(kind, seed), beta, softcap
        exact = from_full_logits(*given)
        sides = (
            [t.cpu() for t in from_tiles(*on_device(*given))],
            from_plain_head(*given, float32_logits=True),
            from_plain_head(*given, float32_logits=False),
        )
        errors.append([[relative_error(*pair) for pair in zip(side, exact, strict=True)] for side in sides])
    own, float32_logits, bfloat16_logits = torch.tensor(errors, dtype=torch.float64).mean(0)
    print(f"\n{kind} beta={beta} cap={softcap}: loss, hidden, W")
    for name, values in (("own", own), ("float32", float32_logits), ("bfloat16", bfloat16_logits)):
        print(f"  {name:<9}" + " ".join(f"{value:.2e}" for value in values))
    assert own[0] <= max(BUDGET * float32_logits[0], ROUNDING)
    assert (own[1:] <= BUDGET * float32_logits[1:]).all()
    assert own[0] < bfloat16_logits[0]


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from polycal.losses import row_pass

kernel, names = row_pass._kernel, row_pass._kernel.arg_names
floats = dict.fromkeys(("label_share", "uniform_share", "softcap"), "fp32")
integers = dict.fromkeys(("logits_stride", "gradient_stride", "tokens", "vocabulary"), "i32")
pointers = {"labels": "*i64", "correct": "*i8"}
for bias, cap, gradient in ((0, 0, "*bf16"), (1, 1, "*fp32"), (0, 1, None)):
    values = {"HAS_BIAS": bool(bias), "HAS_SOFTCAP": bool(cap), "WITH_GRADIENT": gradient is not None}
    values |= {"ROUND_BY_HAND": False, "TOKENS": row_pass.TOKENS, "COLUMNS": row_pass.COLUMNS}
    types = floats | integers | pointers | {"gradient": gradient or "*fp32"} | dict.fromkeys(values, "constexpr")
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "*fp32") for name in names},
        constexprs={(names.index(name),): value for name, value in values.items()},
    )
    compiled = triton.compile(
        source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options={"num_warps": row_pass.WARPS}
    )
    assert len(compiled.asm["cubin"]) > 1000
print("compiled")
"""


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_for_gpus(capability, tmp_path):
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    # Triton reads the source of a module's functions only, so the script itself needs no file.
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(capability)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "compiled", done.stderr[-2000:]
