"""Renders a model's own Jinja chat template, sandboxed, without importing transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateRefused(ValueError):
    """The template does not compile, or refuses a conversation; says why in its own words."""


class ChatTemplate:
    """A compiled template: conversations in, text out."""

    def __init__(self, source: str, *, special_tokens: dict[str, str]) -> None:
        """`special_tokens` are the variables that templates use: bos_token, eos_token, … Raises TemplateRefused."""
        # The settings that transformers renders with: templates are written for them.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(source)
        except Exception as error:  # a template is a program of somebody else's: Python's compiler may refuse it, too
            raise TemplateRefused(f"the chat template does not compile: {error}") from error
        self._special_tokens = special_tokens

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        generation_prompt: bool,
    ) -> str:
        """The conversation as text; `generation_prompt` opens an answer at its end. Raises TemplateRefused."""
        try:
            return self._template.render(
                messages=messages, tools=tools, add_generation_prompt=generation_prompt, **self._special_tokens
            )
        except Exception as error:  # as above: it may do all that a program can
            raise TemplateRefused(f"the chat template refuses the conversation: {error}") from error


class _Generation(Extension):
    """`{% generation %}` marks answers for trainers that search for them; here it is transparent."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes for HTML.
    return json.dumps(value, ensure_ascii=False, indent=indent)
