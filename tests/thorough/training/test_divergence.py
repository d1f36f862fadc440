"""Training that diverges ends its cell in one sentence and leaves nothing that could be taken for a result."""

import re

import pytest
from helpers import training


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_learning_rate_that_is_far_too_large_ends_the_cell(tmp_path, ranks):
    training.prepare(tmp_path)
    process = training.start(tmp_path, "cell", lr="1e+30", ranks=ranks, warmup_ratio="0", minutes=0)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1, output
    sentences = [line for line in output.splitlines() if line.startswith("polycal: ")]
    assert len(sentences) == 1, output
    assert re.search(
        r"/cell: training diverged in step 2 of 4 at learning rate 1e\+30: the (loss|gradient|weights) .*,"
        r" the last finite loss was 9\.",
        sentences[0],
    )
    assert "Traceback" not in output
    left = {path.name for path in (tmp_path / "cell").rglob("*") if path.is_file()}
    assert not left & {"manifest.json", "loss.csv", "model.safetensors"}
    # the state of the last finite step may stay; there is none of the step that diverged
    assert {path.name for path in (tmp_path / "cell").rglob("step-*")} <= {"step-1"}
