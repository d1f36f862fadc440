"""A configuration with a secret is refused. The message does not show the secret."""

import pytest
from helpers.studies import BASE

from polycal.study.config_loading import ConfigError, merge, resolve

FAKE = "hf_" + "x1Y2" * 9


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hf_token", "short"),
        ("hf_token", FAKE),
        ("models", {"mine": {"path": "model", "licence": f"see {FAKE}"}}),
        ("data", {FAKE: {"path": "model"}}),
        ("data", {"mine": {"path": "https://me:pass@host/data"}}),
        ("grid", {"models": [FAKE]}),
        ("models", {"mine": {"path": "model", "api_key": "k"}}),
    ],
)
def test_secrets_are_refused_without_being_shown(key, value):
    with pytest.raises(ConfigError, match="looks like a secret") as refused:
        resolve({key: value})
    assert FAKE not in str(refused.value)
    assert "pass@" not in str(refused.value)


def test_the_key_next_token_is_not_taken_for_a_secret():
    assert resolve(merge(BASE, {"next_token": {"data": ["d"]}})).next_token.data == ["d"]
    with pytest.raises(ConfigError, match="next_token: 'd' is refused: must be a mapping of keys"):
        resolve(merge(BASE, {"next_token": "d"}))
    with pytest.raises(ConfigError, match="looks like a secret"):
        resolve(merge(BASE, {"models": {"m": {"hf_token": "x"}}}))
