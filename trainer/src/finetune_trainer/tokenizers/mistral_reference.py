"""A conversation through all of mistral-common, as a server would encode it: what our encoding is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest, ModelSettings
from mistral_common.protocol.instruct.tool_calls import FunctionCall
from mistral_common.protocol.instruct.tool_calls import ToolCall as MistralCall
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from finetune_trainer.tokenizers.mistral_tools import mistral_call_id, read_tools
from finetune_trainer.tokenizers.protocol import Message, TokenizerRefused


class Reference:
    """`encode_chat_completion` of one tokenizer."""

    def __init__(self, encoder: Any) -> None:
        """Raises TokenizerRefused."""
        version, builder = encoder.tokenizer.version, encoder.tokenizer.model_settings_builder
        if version.supports_model_settings and builder is None:
            name = encoder.tokenizer.file_path.name
            raise TokenizerRefused(f"{name} has no model_settings_builder, which {version.value} needs")
        normalizer = get_normalizer(version, builder)
        self._whole, self._prompt = (
            MistralTokenizer(encoder, validator=get_validator(version, mode), request_normalizer=normalizer)
            for mode in (ValidationMode.finetuning, ValidationMode.test)
        )
        unsaid: ChatCompletionRequest[Any] = ChatCompletionRequest(messages=[UserMessage(content="")])
        self.settings: ModelSettings = normalizer.build_settings(unsaid)
        """What a request that names none is given."""
        self.has_settings = self.settings != ModelSettings.none()

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that ends with an answer."""
        return _encode(self._whole, messages)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that waits for an answer: what a server generates from."""
        return _encode(self._prompt, messages)


def _encode(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    tools = read_tools(messages[0].content) if messages[0].role == "tools" else None
    names: dict[str, str] = {}
    turns: list[Any] = []
    for message in messages:
        match message.role:
            case "system":
                turns.append(SystemMessage(content=message.content))
            case "user":
                turns.append(UserMessage(content=message.content))
            case "assistant":
                names |= {call.id: call.name for call in message.calls}
                calls = [
                    MistralCall(
                        id=mistral_call_id(call.id), function=FunctionCall(name=call.name, arguments=call.arguments)
                    )
                    for call in message.calls
                ]
                turns.append(AssistantMessage(content=message.content or None, tool_calls=calls or None))
            case "tool":
                turns.append(
                    ToolMessage(
                        content=message.content,
                        tool_call_id=mistral_call_id(message.call_id),
                        name=names[message.call_id],
                    )
                )
    request: ChatCompletionRequest[Any] = ChatCompletionRequest(messages=turns, tools=tools)
    return list(tokenizer.encode_chat_completion(request).tokens)
