"""Whether the keys in the environment can be sent at all: a Secret is easily made with a line break at its end."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_trainer.storage.objects import KeysRefused


def check_keys(environ: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Raises KeysRefused, which names the key and never shows it. `keys` are a Secret's, and the variable of each.

    botocore would send such a key as a header, be refused by the HTTP library, and quote the key in its complaint.
    """
    for key, name in keys.items():
        value = environ.get(name, "")
        if value != value.strip() or not (value.isascii() and value.isprintable()):
            raise KeysRefused(
                f"{name} begins or ends with a space or a line break, or holds what no key can: write key {key} of the "
                "Secret spec.storage.secretName anew (with finetune run: the variable)"
            )
