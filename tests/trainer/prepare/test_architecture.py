"""Configurations as they are published, and the tensors that follow from them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from finetune_trainer.prepare.model.architecture import (
    MinistralConfig,
    Unsupported,
    expected_tensors,
    read_config,
    shape_of,
)
from published_configs import (
    MINISTRAL_3_3B,
    MINISTRAL_3_3B_INSTRUCT,
    MINISTRAL_3_14B,
    MINISTRAL_8B_2410,
    MISTRAL_7B_V01,
    MISTRAL_7B_V02,
    MISTRAL_7B_V03,
    NEMO_2407,
    TEXT_MODELS,
)


def without(content: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Mistral-7B-v0.1", 7_241_732_096),
        ("Mistral-7B-Instruct-v0.2", 7_241_732_096),
        ("Mistral-7B-v0.3", 7_248_023_552),
        ("Mistral-Nemo-Base-2407", 12_247_782_400),
        ("Mistral-Small-24B-Base-2501", 23_572_403_200),
        ("Ministral-8B-Instruct-2410", 8_019_808_256),
        ("Ministral-3-3B, the language model", 3_429_006_336),
    ],
)
def test_published_models_have_as_many_parameters_as_their_cards_say(name: str, parameters: int) -> None:
    shapes = expected_tensors(read_config(TEXT_MODELS[name])).values()
    assert sum(math.prod(shape) for shape in shapes) == parameters


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_shape_has_the_parameters_of_its_tensors(name: str) -> None:
    config = read_config(TEXT_MODELS[name])
    assert shape_of(config).parameters == sum(math.prod(shape) for shape in expected_tensors(config).values())


def test_a_shape_knows_how_many_layers_have_a_window() -> None:
    shapes = [shape_of(read_config(content)) for content in (MISTRAL_7B_V01, MINISTRAL_8B_2410, NEMO_2407)]
    assert [(shape.sliding_window, shape.sliding_layers) for shape in shapes] == [(4096, 32), (32768, 27), (None, 0)]


def test_only_the_first_mistral_has_a_window() -> None:
    assert set(read_config(MISTRAL_7B_V01).windows) == {4096}
    assert {window for content in (MISTRAL_7B_V02, MISTRAL_7B_V03) for window in read_config(content).windows} == {None}


def test_heads_may_be_narrower_than_the_model_is_wide() -> None:
    config = read_config(NEMO_2407)
    assert expected_tensors(config)["model.layers.0.self_attn.q_proj.weight"] == (4096, 5120)
    assert read_config(without(NEMO_2407, "head_dim")).head_dim == 160


def test_three_of_four_layers_of_a_ministral_have_a_window() -> None:
    assert read_config(MINISTRAL_8B_2410).windows == (None, 32768, 32768, 32768) * 9
    every = read_config(without(MINISTRAL_8B_2410, "layer_types"))
    assert isinstance(every, MinistralConfig)
    assert set(every.windows) == {32768}


def test_only_a_tied_head_is_no_tensor_of_its_own() -> None:
    assert "lm_head.weight" not in expected_tensors(read_config(MINISTRAL_3_3B))
    assert "lm_head.weight" in expected_tensors(read_config(MINISTRAL_3_14B))


def test_older_spellings_of_the_rotary_embedding_mean_the_same() -> None:
    new = MISTRAL_7B_V03 | {"rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}}
    beside = MISTRAL_7B_V03 | {"rope_parameters": {"type": "default"}}
    assert read_config(without(new, "rope_theta")) == read_config(beside) == read_config(MISTRAL_7B_V03)


def test_heads_of_keys_are_eight_where_none_are_told_and_all_where_null_is() -> None:
    assert read_config(without(MISTRAL_7B_V03, "num_key_value_heads")).num_key_value_heads == 8
    assert read_config(MISTRAL_7B_V03 | {"num_key_value_heads": None}).num_key_value_heads == 32


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (MINISTRAL_3_3B_INSTRUCT, "'mistral3' is a model of images and text"),
        ({"model_type": "pixtral"}, "'pixtral' is a model of images and text"),
        ({"model_type": "llava", "text_config": MISTRAL_7B_V03}, "'llava' is a model of images and text"),
        ({"model_type": "mistral4"}, "'mistral4' is not trained; 'mistral', 'ministral', 'ministral3' are"),
        ({"model_type": "mistral_large4"}, "'mistral_large4' is not trained"),
        ({"model_type": "mixtral"}, "'mixtral' is not trained"),
        ({"model_type": None}, "None is not trained"),
        ({"model_type": ["mistral"]}, r"\['mistral'\] is not trained"),
        (MISTRAL_7B_V03 | {"quantization_config": {"quant_method": "fp8"}}, "quantized weights cannot be trained on"),
        (
            MISTRAL_7B_V03 | {"auto_map": {"AutoModel": "evil.py"}},
            "auto_map: code that comes with a model is never run",
        ),
        (MISTRAL_7B_V03 | {"layer_types": ["full_attention"] * 32}, "layer_types: Extra"),
        (MISTRAL_7B_V03 | {"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "rope_scaling: Extra"),
        (MISTRAL_7B_V03 | {"rope_parameters": {"rope_type": "yarn", "factor": 4}}, "rope_parameters.rope_type: "),
        (MISTRAL_7B_V03 | {"rope_parameters": "yarn"}, "rope_parameters: "),
        (MINISTRAL_8B_2410 | {"layer_types": ["full_attention"] * 35}, "layer_types has 35 entries for 36 layers"),
        (MINISTRAL_8B_2410 | {"layer_types": ["chunked_attention"] * 36}, "layer_types.0: "),
        (MINISTRAL_8B_2410 | {"sliding_window": None}, "sliding_window: "),
        (without(MINISTRAL_8B_2410, "head_dim"), "head_dim: "),
        (without(MINISTRAL_3_3B, "rope_parameters"), "rope_parameters.rope_type: Field required"),
        (
            MINISTRAL_3_3B | {"rope_parameters": without(MINISTRAL_3_3B["rope_parameters"], "llama_4_scaling_beta")},
            "rope_parameters.llama_4_scaling_beta: Field required",
        ),
    ],
)
def test_what_is_not_trained_is_told_by_its_key_and_reason(content: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Unsupported, match=complaint):
        read_config(content)
