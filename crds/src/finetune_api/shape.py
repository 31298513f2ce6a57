"""What of a base model decides its memory and its work, by the names of config.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from finetune_api.model import Model

_Positive = Annotated[int, Field(ge=1, le=1 << 24)]


class ModelShape(Model):
    """A Mistral: blocks of grouped-query attention and a gated feed-forward layer, between embedding and head."""

    vocab_size: _Positive
    """Tokens that it knows."""
    hidden_size: _Positive
    """Width of the residual stream."""
    intermediate_size: _Positive
    """Width of the feed-forward layers."""
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)]
    """Blocks."""
    num_attention_heads: _Positive
    """Query heads."""
    num_key_value_heads: _Positive
    """Key and value heads."""
    head_dim: _Positive
    """Width of a head."""
    tie_word_embeddings: bool = False
    """Whether the head is the embedding."""
    sliding_window: _Positive | None = None
    """Tokens that a token sees in blocks with a window; absent: there are none."""
    sliding_layers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Blocks with a window."""

    @property
    def query_size(self) -> int:
        """Width of all query heads."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_size(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.num_key_value_heads * self.head_dim

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each linear layer of a block."""
        hidden, inner = self.hidden_size, self.intermediate_size
        return {
            "q_proj": (hidden, self.query_size),
            "k_proj": (hidden, self.key_size),
            "v_proj": (hidden, self.key_size),
            "o_proj": (self.query_size, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }

    @property
    def block_matrices(self) -> int:
        """Parameters of a block's linear layers."""
        return sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def block_parameters(self) -> int:
        """With its two norms."""
        return self.block_matrices + 2 * self.hidden_size

    @property
    def head_parameters(self) -> int:
        """Of the projection onto the vocabulary, and of the embedding."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All of MistralForCausalLM, a tied head once."""
        tables = 1 if self.tie_word_embeddings else 2
        return (
            tables * self.head_parameters
            + self.num_hidden_layers * self.block_parameters
            + self.hidden_size  # last norm
        )

    def adapter_parameters(self, rank: int, target_modules: tuple[str, ...], num_layers: int) -> int:
        """Of LoRA on these layers of `num_layers` blocks: rank · (inputs + outputs) each (arXiv 2106.09685)."""
        return num_layers * rank * sum(sum(self.linear_layers[name]) for name in target_modules)
