"""Keys that cannot be sent are refused by their name, and shown to nobody."""

from __future__ import annotations

import pytest

from finetune_api.contract import HUB_SECRET_KEYS, SECRET_KEYS
from finetune_trainer.storage import KeysRefused
from finetune_trainer.storage.keys import check_keys


@pytest.mark.parametrize("damage", ["\n", "\r\n", " ", "\0", "é", "a\nb"])
@pytest.mark.parametrize(("key", "name"), (SECRET_KEYS | HUB_SECRET_KEYS).items())
def test_a_damaged_key_is_named_and_not_shown(key: str, name: str, damage: str) -> None:
    keys = SECRET_KEYS | HUB_SECRET_KEYS
    whole = dict.fromkeys(keys.values(), "CANARY")
    with pytest.raises(KeysRefused, match=f"^{name} .* key {key} of the Secret spec.storage.secretName") as refused:
        check_keys({**whole, name: f"CANARY{damage}"}, keys)
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize(
    "environ",
    [{}, {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "a/b+c d=", "AWS_SESSION_TOKEN": ""}],
)
def test_whole_keys_pass(environ: dict[str, str]) -> None:
    check_keys(environ, SECRET_KEYS)
