"""Mistral's architecture: the keys of config.json that describe it, and the tensors that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LINEAR_LAYERS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block."""

_NO_PART_IN_THE_COMPUTATION = frozenset(
    {
        "_name_or_path",
        "architectures",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "initializer_range",
        "model_type",
        "pad_token_id",
        "torch_dtype",
        "transformers_version",
        "unk_token_id",
        "use_cache",
    }
)

_Positive = Annotated[int, Field(ge=1, le=1 << 24)]


class RopeParameters(BaseModel):
    """Rotary embedding, as transformers 5 writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rope_theta: Annotated[float, Field(gt=0)] = 10000.0
    rope_type: Literal["default"] = "default"


class MistralConfig(BaseModel):
    """An allow-list: a key that is neither here nor known to be without effect may change the model, and is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: _Positive
    hidden_size: _Positive
    intermediate_size: _Positive
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)]
    num_attention_heads: _Positive
    num_key_value_heads: _Positive
    head_dim: _Positive
    hidden_act: Literal["silu"] = "silu"
    max_position_embeddings: _Positive = 131_072
    rms_norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    rope: RopeParameters
    sliding_window: _Positive | None = 4096
    """Tokens that a token sees; None: all. Absent from config.json is 4096, as for transformers."""
    attention_dropout: Annotated[float, Field(ge=0, le=0)] = 0
    tie_word_embeddings: bool = False

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads is no multiple of num_key_value_heads")
        if self.head_dim % 2:
            raise ValueError("head_dim is odd, rotary embedding turns pairs")
        return self

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read config.json as any release of transformers wrote it. Raises pydantic.ValidationError."""
        fields = {name: value for name, value in content.items() if name not in _NO_PART_IN_THE_COMPUTATION}
        if fields.get("rope_scaling") is None:
            fields.pop("rope_scaling", None)
        theta = fields.pop("rope_theta", None)
        rope = fields.pop("rope_parameters", None)
        fields["rope"] = rope if rope is not None else ({} if theta is None else {"rope_theta": theta})
        hidden, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
        if fields.get("head_dim") is None and isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
            fields["head_dim"] = hidden // heads
        fields.setdefault("num_key_value_heads", 8)
        return cls.model_validate(fields)


def expected_tensors(config: MistralConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of MistralForCausalLM."""
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
