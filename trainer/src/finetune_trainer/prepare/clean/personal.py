"""Personal data and keys, masked by kind: what an issuer's form, a check digit or a numbering plan confirms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import phonenumbers
from stdnum import iban, luhn

from finetune_api.spec import PersonalData

_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,24}\b")
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\w.-])(?<![A-Z]{2}\d\d[ -])[2-6](?:[ -]?\d){12,18}(?![\d-]|\.\d)")
# The forms that issuers publish, so that leaked keys can be found.
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]|-(?!----))*-----END [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[oprsu]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{82}\b|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}"
    r"|\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|\b[rs]k_live_[0-9A-Za-z]{20,}|\bhf_[A-Za-z]{34}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
)


def _masked(pattern: re.Pattern[str], mask: str, confirmed: Callable[[str], bool] | None, text: str) -> str:
    return pattern.sub(lambda found: mask if confirmed is None or confirmed(found[0]) else found[0], text)


def _without_phones(text: str) -> str:
    """International numbers only: what a national one is depends on a country that nobody has told."""
    if "+" not in text:
        return text
    pieces, end = [], 0
    for match in phonenumbers.PhoneNumberMatcher(text, None):
        pieces += [text[end : match.start], "[PHONE]"]
        end = match.end
    return "".join([*pieces, text[end:]])


def _is_card(digits: str) -> bool:
    plain = re.sub("[ -]", "", digits)
    return len(set(plain)) > 1 and luhn.is_valid(plain)


# Keys first: what stands in one may look like something else. Cards before phones, for both are digits.
_MASKS: Final[Mapping[PersonalData, Callable[[str], str]]] = {
    PersonalData.KEY: partial(_masked, _KEY, "[KEY]", None),
    PersonalData.EMAIL: partial(_masked, _EMAIL, "[EMAIL]", None),
    PersonalData.IBAN: partial(_masked, _IBAN, "[IBAN]", iban.is_valid),
    PersonalData.CARD: partial(_masked, _CARD, "[CARD]", _is_card),
    PersonalData.PHONE: _without_phones,
}


def mask_json(text: str, mask: Callable[[str], str]) -> str:
    """The text masked, value by value where it is JSON, so that it stays JSON; the very same where nothing is found."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return mask(text)
    masked = _mask_values(value, mask)
    return text if masked == value else json.dumps(masked, ensure_ascii=False)


def _mask_values(value: Any, mask: Callable[[str], str]) -> Any:
    match value:
        case str():
            return mask(value)
        case bool():
            return value
        case int():  # a card's number, but not what only looks like one
            digits = str(value)
            return value if (masked := mask(digits)) == digits else masked
        case list():
            return [_mask_values(member, mask) for member in value]
        case dict():
            return {name: _mask_values(member, mask) for name, member in value.items()}
    return value


def masks(kinds: frozenset[PersonalData]) -> tuple[Callable[[str], str], ...]:
    """What masks each of these kinds, in the order in which they are looked for."""
    return tuple(mask for kind, mask in _MASKS.items() if kind in kinds)
