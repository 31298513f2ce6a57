"""Folders that hold a tiny model of each architecture: random weights, a real tokenizer; made without torch."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The shape of SmolLM2-Instruct's template."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


class TokenizerKind(StrEnum):
    HUGGING_FACE = "tokenizer.json"
    """Byte-level BPE without merges (one token a byte) and a ChatML template."""
    MISTRAL_V3 = "tokenizer.model"
    """Mistral's own v3 SentencePiece under the name that mistral-common takes for v1."""


OF_TYPE: Final[dict[str, dict[str, Any]]] = {
    "mistral": {"architectures": ["MistralForCausalLM"], "sliding_window": None, "rope_theta": 10000.0},
    "ministral": {
        "architectures": ["MinistralForCausalLM"],
        "layer_types": ["full_attention", "sliding_attention"],
        "sliding_window": 8,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "ministral3": {
        "architectures": ["Ministral3ForCausalLM"],
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
    },
}
"""Keys of config.json that only models of a model_type have, small enough to matter in texts of 20 tokens."""


def tiny_model(
    folder: Path,
    *,
    model_type: str = "mistral",
    tokenizer: TokenizerKind = TokenizerKind.HUGGING_FACE,
    hidden_size: int = 32,
    num_layers: int = 2,
    num_heads: int = 4,
    num_kv_heads: int = 2,
    tied: bool = True,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    num_shards: int = 1,
) -> Path:
    """Write config.json, safetensors (fp32) and the tokenizer; `config` overrides keys. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = write_tokenizer(folder, tokenizer)
    shape = {
        "model_type": model_type,
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_kv_heads,
        "head_dim": hidden_size // num_heads,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    } | OF_TYPE[model_type]
    if "layer_types" in shape:
        shape["layer_types"] = (shape["layer_types"] * num_layers)[:num_layers]
    (folder / "config.json").write_text(json.dumps(shape | (config or {}), indent=2))
    _write_weights(folder, tiny_weights(shape, seed=seed), num_shards)
    return folder


def tiny_weights(shape: dict[str, Any], *, seed: int) -> dict[str, np.ndarray]:
    """Every tensor of the causal language model, drawn from a normal distribution of width 0.02; norms are 1."""
    random = np.random.default_rng(seed)
    hidden, inner, vocab = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
    queries, keys = shape["num_attention_heads"] * shape["head_dim"], shape["num_key_value_heads"] * shape["head_dim"]

    def normal(*size: int) -> np.ndarray:
        return random.normal(0, 0.02, size).astype(np.float32)

    tensors = {"model.embed_tokens.weight": normal(vocab, hidden), "model.norm.weight": np.ones(hidden, np.float32)}
    if not shape["tie_word_embeddings"]:
        tensors["lm_head.weight"] = normal(vocab, hidden)
    for layer in range(shape["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        tensors |= {
            f"{block}.input_layernorm.weight": np.ones(hidden, np.float32),
            f"{block}.post_attention_layernorm.weight": np.ones(hidden, np.float32),
            f"{block}.self_attn.q_proj.weight": normal(queries, hidden),
            f"{block}.self_attn.k_proj.weight": normal(keys, hidden),
            f"{block}.self_attn.v_proj.weight": normal(keys, hidden),
            f"{block}.self_attn.o_proj.weight": normal(hidden, queries),
            f"{block}.mlp.gate_proj.weight": normal(inner, hidden),
            f"{block}.mlp.up_proj.weight": normal(inner, hidden),
            f"{block}.mlp.down_proj.weight": normal(hidden, inner),
        }
    return tensors


def _write_weights(folder: Path, tensors: dict[str, np.ndarray], num_shards: int) -> None:
    if num_shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for shard in range(num_shards):
        name = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors"
        part = dict(list(tensors.items())[shard::num_shards])
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_tokenizer(folder: Path, kind: TokenizerKind) -> int:
    """Write the tokenizer's files. Returns the number of its tokens."""
    if kind is TokenizerKind.MISTRAL_V3:
        source = files("mistral_common") / "data" / "mistral_instruct_tokenizer_240323.model.v3"
        (folder / "tokenizer.model").write_bytes(source.read_bytes())
        return 32768
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate((*_SPECIAL, *alphabet))}
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.save(str(folder / "tokenizer.json"))
    settings = {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "chat_template": CHATML,
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return len(vocab)
