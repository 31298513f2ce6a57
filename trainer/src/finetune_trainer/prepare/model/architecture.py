"""The architectures of Mistral's language models: what config.json says of one, and the tensors that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from finetune_api.shape import ModelShape

LINEAR_LAYERS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block, in every architecture."""

NOT_QUANTIZED: Final = (
    "quantized weights cannot be trained on; take the model's checkpoint in bfloat16, which QLoRA quantizes by itself"
)

_NO_PART_IN_THE_COMPUTATION = frozenset(
    {
        "_name_or_path",
        "architectures",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "initializer_range",
        "pad_token_id",
        "torch_dtype",
        "transformers_version",
        "unk_token_id",
        "use_cache",
    }
)

_Positive = Annotated[int, Field(ge=1, le=1 << 24)]
_MOST_LAYERS = 1024
_Factor = Annotated[float, Field(gt=0)]


class Unsupported(Exception):
    """A configuration that this trainer does not train; the message says why, and what to do."""


class _Part(BaseModel):
    """An allow-list: a key that is neither here nor known to be without effect may change the model, and is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rope(_Part):
    """Rotary embedding, as transformers 5 writes it."""

    rope_theta: _Factor = 10000.0
    rope_type: Literal["default"] = "default"


class YarnRope(_Part):
    """Frequencies of a short context stretched to a long one (arXiv 2309.00071), and queries that grow with their
    position, by 1 + beta * ln(1 + position // original_max_position_embeddings), as those of Llama 4."""

    rope_theta: _Factor = 10000.0
    rope_type: Literal["yarn"]
    factor: Annotated[float, Field(ge=1)]
    original_max_position_embeddings: _Positive
    beta_fast: _Factor = 32
    beta_slow: _Factor = 1
    mscale: _Factor | None = None
    mscale_all_dim: _Factor | None = None
    attention_factor: _Factor | None = None
    truncate: bool = True
    llama_4_scaling_beta: Annotated[float, Field(ge=0)]


class _Decoder(_Part):
    """What the architectures have in common: pre-norm blocks of grouped-query attention and a gated MLP, no bias."""

    vocab_size: _Positive
    hidden_size: _Positive
    intermediate_size: _Positive
    num_hidden_layers: Annotated[int, Field(ge=1, le=_MOST_LAYERS)]
    num_attention_heads: _Positive
    num_key_value_heads: _Positive = 8
    head_dim: _Positive
    hidden_act: Literal["silu"] = "silu"
    attention_dropout: Annotated[float, Field(ge=0, le=0)] = 0
    tie_word_embeddings: bool = False

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads is no multiple of num_key_value_heads")
        if self.head_dim % 2:
            raise ValueError("head_dim is odd, rotary embedding turns pairs")
        return self


def _with_head_dim(fields: dict[str, Any]) -> dict[str, Any]:
    """Of a model of this width, where none is given. transformers has no such rule for Ministral."""
    hidden, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
    if fields.get("head_dim") is None and isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
        return fields | {"head_dim": hidden // heads}
    return fields


class MistralConfig(_Decoder):
    """Mistral 7B, Nemo, Small and their like. What is absent is as transformers has it, here and below."""

    model_type: Literal["mistral"]
    max_position_embeddings: _Positive = 131_072
    rms_norm_eps: _Factor = 1e-6
    rope_parameters: Rope
    sliding_window: _Positive | None = 4096
    """Tokens that a token sees, itself included; None: all."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return _with_head_dim(fields)

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Of each layer."""
        return (self.sliding_window,) * self.num_hidden_layers


class MinistralConfig(_Decoder):
    """Ministral 8B of 2024: some layers see all tokens, some a window."""

    model_type: Literal["ministral"]
    max_position_embeddings: _Positive = 131_072
    rms_norm_eps: _Factor = 1e-6
    rope_parameters: Rope
    sliding_window: _Positive = 4096
    """Without one transformers computes no layer, be it of full attention."""
    layer_types: tuple[Literal["full_attention", "sliding_attention"], ...]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, fields: dict[str, Any]) -> dict[str, Any]:
        layers = fields.get("num_hidden_layers")
        if fields.get("layer_types") is None and isinstance(layers, int):
            return fields | {"layer_types": ("sliding_attention",) * min(layers, _MOST_LAYERS)}
        return fields

    @model_validator(mode="after")
    def _a_type_for_each_layer(self) -> Self:
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"layer_types has {len(self.layer_types)} entries for {self.num_hidden_layers} layers")
        return self

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Of each layer."""
        return tuple(self.sliding_window if kind == "sliding_attention" else None for kind in self.layer_types)


class Ministral3Config(_Decoder):
    """The language models of Ministral 3."""

    model_type: Literal["ministral3"]
    max_position_embeddings: _Positive = 262_144
    rms_norm_eps: _Factor = 1e-5
    rope_parameters: YarnRope
    sliding_window: _Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return _with_head_dim({"head_dim": 128} | fields)

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Of each layer."""
        return (self.sliding_window,) * self.num_hidden_layers


ModelConfig = MistralConfig | MinistralConfig | Ministral3Config

_CONFIGS: Final[Mapping[str, type[ModelConfig]]] = {
    "mistral": MistralConfig,
    "ministral": MinistralConfig,
    "ministral3": Ministral3Config,
}


def read_config(content: Mapping[str, Any]) -> ModelConfig:
    """What config.json holds, as any release of transformers wrote it. Raises Unsupported."""
    model_type = content.get("model_type")
    if "vision_config" in content or "text_config" in content or model_type in ("mistral3", "pixtral"):
        raise Unsupported(
            f"model_type {model_type!r} is a model of images and text, and only text models are trained: take one, or "
            "save this model's language model alone (its text_config as config.json, and its tensors as "
            "transformers saves that class)"
        )
    config = _CONFIGS.get(model_type) if isinstance(model_type, str) else None
    if config is None:
        raise Unsupported(f"model_type {model_type!r} is not trained; {', '.join(map(repr, _CONFIGS))} are")
    if content.get("quantization_config") is not None:
        raise Unsupported(f"quantization_config: {NOT_QUANTIZED}")
    if "auto_map" in content:
        raise Unsupported("auto_map: code that comes with a model is never run: take a model without its own code")
    try:
        return config.model_validate(_in_todays_keys(content))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_url=False)
        ]
        raise Unsupported(f"not a configuration this trainer knows: {'; '.join(problems)}") from error


def _in_todays_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in content.items() if name not in _NO_PART_IN_THE_COMPUTATION}
    for name in ("rope_scaling", "quantization_config"):
        if fields.get(name, ...) is None:
            del fields[name]
    if fields.get("num_key_value_heads", ...) is None:
        fields["num_key_value_heads"] = fields.get("num_attention_heads")
    return fields | {"rope_parameters": _rope(fields.pop("rope_parameters", None), fields.pop("rope_theta", None))}


def _rope(parameters: Any, theta: Any) -> Any:
    """Of one dictionary: releases before 5 kept the base beside it, and called its `rope_type` `type`."""
    if parameters is not None and not isinstance(parameters, Mapping):
        return parameters
    found = {"rope_theta": theta} if theta is not None else {}
    found |= parameters or {}
    kind = found.pop("type", None)
    if kind is not None and found.get("rope_type") is None:
        found["rope_type"] = kind
    # Ministral 3 keeps a copy of the model's own key here, which nothing reads.
    found.pop("max_position_embeddings", None)
    return found


def shape_of(config: ModelConfig) -> ModelShape:
    """What of it decides memory and work."""
    windows = [window for window in config.windows if window is not None]
    return ModelShape(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        tie_word_embeddings=config.tie_word_embeddings,
        sliding_window=max(windows, default=None),
        sliding_layers=len(windows),
    )


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the causal language model."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    tensors: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config.tie_word_embeddings:
        tensors["lm_head.weight"] = (config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        block = f"model.layers.{layer}"
        tensors |= {
            f"{block}.input_layernorm.weight": (hidden,),
            f"{block}.self_attn.q_proj.weight": (queries, hidden),
            f"{block}.self_attn.k_proj.weight": (keys, hidden),
            f"{block}.self_attn.v_proj.weight": (keys, hidden),
            f"{block}.self_attn.o_proj.weight": (hidden, queries),
            f"{block}.post_attention_layernorm.weight": (hidden,),
            f"{block}.mlp.gate_proj.weight": (inner, hidden),
            f"{block}.mlp.up_proj.weight": (inner, hidden),
            f"{block}.mlp.down_proj.weight": (hidden, inner),
        }
    return tensors
