"""``polycal self-check`` prints, for any model folder, which way runs take and how large the difference is."""

import pytest
from helpers import families
from helpers import models as tiny

from polycal.cli.self_check_command import self_check
from polycal.cli.stage_commands import UsageError


@pytest.mark.parametrize(("name", "way"), [("llama", "fast"), ("gpt2", "plain")])
def test_a_line_for_each_kind_of_run(tmp_path, capsys, name, way):
    families.build(name).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    self_check(tmp_path, "float32", "sdpa")
    lines = [line for line in capsys.readouterr().out.splitlines() if "largest difference" in line]
    assert [line.split(":")[0].split() for line in lines] == [
        ["candidates", way],
        ["embeddings", way],
        ["next", "tokens", way],
    ]
    assert all("tolerance 0.0001" in line for line in lines)


def test_an_unknown_type_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--dtype: 'float8' is refused: must be float32 or bfloat16"):
        self_check(tmp_path, "float8", "sdpa")
