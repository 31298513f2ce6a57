"""The Jinja template that renders conversations as Mistral's own encoders write them."""

from __future__ import annotations

from typing import Any, Final

from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
from mistral_common.tokens.tokenizers.base import SpecialTokens, TokenizerVersion
from mistral_common.tokens.tokenizers.model_settings_builder import ModelSettingsBuilder
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

_ANSWER: Final = "content=message['content'], context_name='assistant message contents'"
_ANSWER_STRIPPED: Final = (
    "content=message['content'].rstrip(' ') if message['content'] is string else message['content'], "
    "context_name='assistant message contents'"
)

_V7_RESULT: Final = "'[TOOL_CONTENT] ' ~ message['content']|string"
_V7_RESULT_OR_NONE: Final = "'[TOOL_CONTENT]' ~ (' ' if message['content'] else '') ~ message['content']|string"

_RESULT: Final = "(tool_message|tojson)"
_RESULT_AS_JSON: Final = "tool_message"
_V2_RESULT: Final = "{%- set tool_message = {'name': message['name'], 'content': tool_content} %}"
_V3_RESULT: Final = "{%- set tool_message = {'content': tool_content, 'call_id': tool_id} %}"
_AS_JSON: Final = """\
{%- set text = message['content'] if message['content'] is string else message['content']|tojson %}
        {%- set is_json = message['content'] is not string or text in ('true', 'false', 'null')
            or (text[:1] == '{' and text[-1:] == '}') or (text[:1] == '[' and text[-1:] == ']') %}
        {%- set tool_content = '{}' if text == '' else text if is_json else tool_content|tojson %}
        """
_V2_RESULT_AS_JSON: Final = (
    _AS_JSON
    + """{%- set tool_message = '{"name": ' ~ message['name']|tojson ~ ', "content": ' ~ tool_content ~ '}' %}"""
)
_V3_RESULT_AS_JSON: Final = (
    _AS_JSON + """{%- set tool_message = '{"content": ' ~ tool_content ~ ', "call_id": "' ~ tool_id ~ '"}' %}"""
)


def mistral_template(tokenizer: SentencePieceTokenizer | Tekkenizer) -> str:
    """mistral-common's template of the tokenizer's version, mended where that of 1.13 is not exact.

    From v2 on, its encoders leave out blanks at the end of an answer, and with SentencePiece write none for an empty
    result of a tool. In v2 and v3 they parse results: JSON stands there as JSON, which a template sees only by the
    brackets around it, so it is to be given as an object, or as `json.dumps` writes it. From v11 on they sort results
    by the calls, which a template leaves to whoever calls it. What another mistral-common writes otherwise is left as
    it is: tests notice.
    """
    version = tokenizer.version
    template = generate_chat_template(
        spm=isinstance(tokenizer, SentencePieceTokenizer),
        tokenizer_version=version,
        image_support=False,
        audio_support=False,
        thinking_support=version >= TokenizerVersion.v13
        and all(tokenizer.is_special(token.value) for token in (SpecialTokens.begin_think, SpecialTokens.end_think)),
        default_system_prompt=None,
        plain_thinking_support=False,
        use_special_token_variables=True,
        **_settings(tokenizer.model_settings_builder if version.supports_model_settings else None),
    )
    if version > TokenizerVersion.v1:
        template = template.replace(_ANSWER, _ANSWER_STRIPPED).replace(_V7_RESULT, _V7_RESULT_OR_NONE)
    if _V2_RESULT in template or _V3_RESULT in template:
        template = template.replace(_V2_RESULT, _V2_RESULT_AS_JSON).replace(_V3_RESULT, _V3_RESULT_AS_JSON)
        template = template.replace(_RESULT, _RESULT_AS_JSON)
    return template


def _settings(builder: ModelSettingsBuilder | None) -> dict[str, Any]:
    """What a request can set, from v15 on."""
    fields = ModelSettingsBuilder.model_fields
    effort = None if builder is None else builder.reasoning_effort
    return {
        "model_settings_fields": builder and frozenset(name for name in fields if getattr(builder, name) is not None),
        "reasoning_effort_values": effort and tuple(str(value) for value in effort.values),
        "reasoning_effort_default": effort and str(effort.default),
    }
