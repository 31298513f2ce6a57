"""What config.json says of models as their authors publish them, down to the keys that matter to nobody."""

from __future__ import annotations

from typing import Any, Final

_SEVEN_BILLION: Final[dict[str, Any]] = {
    "architectures": ["MistralForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.0.dev0",
    "use_cache": True,
    "vocab_size": 32768,
}

MISTRAL_7B_V01: Final = _SEVEN_BILLION | {
    "max_position_embeddings": 32768,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "transformers_version": "4.34.0.dev0",
    "vocab_size": 32000,
}
del MISTRAL_7B_V01["attention_dropout"]
MISTRAL_7B_V02: Final = _SEVEN_BILLION | {"rope_theta": 1000000.0, "vocab_size": 32000}
MISTRAL_7B_V03: Final = _SEVEN_BILLION | {"rope_theta": 1000000.0}
NEMO_2407: Final = _SEVEN_BILLION | {
    "head_dim": 128,
    "hidden_size": 5120,
    "max_position_embeddings": 1024000,
    "num_hidden_layers": 40,
    "rope_theta": 1000000.0,
    "vocab_size": 131072,
}
SMALL_24B_2501: Final = _SEVEN_BILLION | {
    "head_dim": 128,
    "hidden_size": 5120,
    "intermediate_size": 32768,
    "num_hidden_layers": 40,
    "rope_theta": 100000000.0,
    "vocab_size": 131072,
}
MINISTRAL_8B_2410: Final = _SEVEN_BILLION | {
    "architectures": ["MinistralForCausalLM"],
    "dtype": "bfloat16",
    "head_dim": 128,
    "intermediate_size": 12288,
    "layer_types": (["full_attention"] + ["sliding_attention"] * 3) * 9,
    "max_position_embeddings": 131072,
    "model_type": "ministral",
    "num_hidden_layers": 36,
    "pad_token_id": None,
    "rope_parameters": {"rope_theta": 100000000.0, "rope_type": "default"},
    "sliding_window": 32768,
    "vocab_size": 131072,
}


def _ministral_3(theta: float, **shape: Any) -> dict[str, Any]:
    """The language model's part; these models are published with a vision encoder around it."""
    return {
        "attention_dropout": 0.0,
        "head_dim": 128,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 262144,
        "model_type": "ministral3",
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 16.0,
            "llama_4_scaling_beta": 0.1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 16384,
            "rope_theta": theta,
            "rope_type": "yarn",
            "type": "yarn",
        },
        "sliding_window": None,
        "use_cache": True,
        "vocab_size": 131072,
    } | shape


MINISTRAL_3_3B: Final = _ministral_3(
    1000000.0, hidden_size=3072, intermediate_size=9216, num_hidden_layers=26, tie_word_embeddings=True
)
MINISTRAL_3_8B: Final = _ministral_3(
    1000000.0, hidden_size=4096, intermediate_size=14336, num_hidden_layers=34, tie_word_embeddings=False
)
MINISTRAL_3_14B: Final = _ministral_3(
    1000000000.0, hidden_size=5120, intermediate_size=16384, num_hidden_layers=40, tie_word_embeddings=False
)

TEXT_MODELS: Final = {
    "Mistral-7B-v0.1": MISTRAL_7B_V01,
    "Mistral-7B-Instruct-v0.2": MISTRAL_7B_V02,
    "Mistral-7B-v0.3": MISTRAL_7B_V03,
    "Mistral-Nemo-Base-2407": NEMO_2407,
    "Mistral-Small-24B-Base-2501": SMALL_24B_2501,
    "Ministral-8B-Instruct-2410": MINISTRAL_8B_2410,
    "Ministral-3-3B, the language model": MINISTRAL_3_3B,
    "Ministral-3-8B, the language model": MINISTRAL_3_8B,
    "Ministral-3-14B, the language model": MINISTRAL_3_14B,
}

MINISTRAL_3_3B_INSTRUCT: Final[dict[str, Any]] = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "dtype": "bfloat16",
    "image_token_index": 10,
    "model_type": "mistral3",
    "multimodal_projector_bias": False,
    "projector_hidden_act": "gelu",
    "quantization_config": {
        "activation_scheme": "static",
        "dequantize": False,
        "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
        "quant_method": "fp8",
        "weight_block_size": None,
    },
    "spatial_merge_size": 2,
    "text_config": MINISTRAL_3_3B,
    "transformers_version": "5.0.0.dev0",
    "vision_config": {"hidden_size": 1024, "image_size": 1540, "model_type": "pixtral", "num_hidden_layers": 24},
    "vision_feature_layer": -1,
}
"""As published: with a vision encoder, and quantized."""
