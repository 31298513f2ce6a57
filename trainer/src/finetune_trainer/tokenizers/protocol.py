"""What the rest of the trainer needs of a tokenizer, whoever made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class ToolCall(NamedTuple):
    """What an assistant asks a tool to do."""

    id: str
    """As the row has it; empty where it has none, and results follow in the order of the calls."""
    name: str
    arguments: str
    """A JSON object, as the row has it."""


class Message(NamedTuple):
    """One turn; or, first of all in a row that has them, the definitions of its tools."""

    role: str
    """`tools`, `system`, `user`, `assistant` or `tool`."""
    content: str
    """A text; of `tools` the JSON of OpenAI's list; empty where an assistant only calls."""
    calls: tuple[ToolCall, ...] = ()
    """Of an assistant."""
    call_id: str = ""
    """Of a `tool`: the call that this is the result of."""


@dataclass(frozen=True)
class Encoded:
    """One document."""

    ids: list[int]
    trained: tuple[tuple[int, int], ...]
    """Half-open spans of `ids` that are loss targets, in order; the last one is the last answer and its EOS."""
    last: int = -1
    """Index of the message that is this last answer."""
    breaks: tuple[int, ...] = ()
    """Where in `ids` another sequence begins, which is packed beside the one before and sees nothing of it."""


class TokenizerRefused(ValueError):
    """The files hold no tokenizer that can be used; says which and why."""


class TokenizerContradicts(TokenizerRefused):
    """A file's name, version and pieces do not go together; says which do not."""


class NotEncodable(ValueError):
    """This conversation cannot be encoded; says why."""


class EncodingMismatch(Exception):
    """A conversation was not encoded as its maker's own library does; says where."""


class ChatTokenizer(Protocol):
    """What preparation, evaluation and generation need of a tokenizer. No text becomes a control token."""

    vocab_size: int
    """One more than the largest id."""
    eos_id: int
    """Ends an answer; it carries loss."""
    pad_id: int
    """With which those pad who load the published tokenizer; ours masks padding by length."""

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """Documents that together train every answer once. Raises NotEncodable."""

    def prove(self, messages: Sequence[Message], documents: Sequence[Encoded]) -> None:
        """Compare what `encode_messages` gave with an independent encoding. Raises EncodingMismatch."""

    def encode_text(self, text: str) -> Encoded:
        """A plain document between the model's BOS, where it has one, and EOS; all of it after the BOS is trained."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text, without control tokens."""
