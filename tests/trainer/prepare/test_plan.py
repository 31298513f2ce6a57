"""What the spec leaves open, and the identity of a run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_api.result import Resolved
from finetune_api.spec import Precision, SourceSplit, Spec, TextDocument
from finetune_trainer import prepared
from finetune_trainer.failures import StageFailed
from finetune_trainer.packing import num_rows, num_steps
from finetune_trainer.prepare import plan
from finetune_trainer.prepare.model.architecture import LINEAR_LAYERS, read_config
from finetune_trainer.prepare.read import Format, RawObject
from finetune_trainer.storage import StoredObject
from jobs import make_job
from results import PREPARED
from shapes import SEVEN_BILLION

X86 = "processor\t: 0\nmodel name\t: bf16 fan's CPU\nflags\t\t: fpu {} avx2\n"
FULL = 1024
"""Documents of this length fill a row each."""


def spec_with(**fields: Any) -> Spec:
    return make_job(**{"training": {"sequenceLength": FULL}, **fields}).spec


def documents(count: int, length: int = FULL) -> NDArray[np.int32]:
    return np.full(count, length, dtype=np.int32)


def resolved(spec: Spec, count: int = 1000, *, cpuinfo: str = "") -> Resolved:
    return plan.resolve(spec, documents(count), cpuinfo=cpuinfo)


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"),
    [(1, 1, 1), (133, 3, 1), (134, 3, 2), (1000, 1, 4), (4266, 3, 32), (4267, 3, 64), (20_000, 1, 64)],
)
def test_the_batch_is_the_largest_power_of_two_that_leaves_200_steps(rows: int, epochs: int, batch: int) -> None:
    chosen = resolved(spec_with(training={"sequenceLength": FULL, "epochs": epochs}), rows)
    assert chosen.global_batch_size == batch
    assert chosen.total_steps >= min(200, rows * epochs)


def test_steps_are_those_of_the_packing() -> None:
    lengths = np.random.default_rng(0).integers(10, FULL, 500).astype(np.int32)
    spec = spec_with(training={"sequenceLength": FULL, "epochs": 3, "globalBatchSize": 8, "seed": 7})
    chosen = plan.resolve(spec, lengths, cpuinfo="")
    counts = num_rows(lengths, sequence_length=FULL, seed=7, epochs=3)
    assert chosen.total_steps == num_steps(counts, global_batch_size=8)
    assert chosen.steps_per_epoch * 3 == pytest.approx(chosen.total_steps, abs=3)


def test_max_steps_ends_the_plan() -> None:
    chosen = resolved(spec_with(training={"sequenceLength": FULL, "globalBatchSize": 1, "maxSteps": 50}))
    assert (chosen.total_steps, chosen.warmup_steps) == (50, 2)


@pytest.mark.parametrize(("given", "rows", "expected"), [(None, 1000, 30), (None, 5, 1), (0, 1000, 0), (7, 1000, 7)])
def test_warm_up_is_three_percent_unless_given(given: int | None, rows: int, expected: int) -> None:
    training = {"sequenceLength": FULL, "epochs": 1, "globalBatchSize": 1}
    if given is not None:
        training["warmupSteps"] = given
    assert resolved(spec_with(training=training), rows).warmup_steps == expected


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(StageFailed, match=r"spec\.training\.warmupSteps: 11 steps of warm-up in a run of 10") as failed:
        resolved(spec_with(training={"sequenceLength": FULL, "epochs": 1, "globalBatchSize": 1, "warmupSteps": 11}), 10)
    assert (failed.value.exit_code, failed.value.failure.field) == (ExitCode.BAD_CONFIG, "spec.training.warmupSteps")


def scheduled(steps: int, **training: int) -> Resolved:
    """In a run of so many steps."""
    given = {"sequenceLength": FULL, "epochs": 1, "globalBatchSize": 1, "schedule": "WarmupStableDecay", **training}
    return resolved(spec_with(training=given), steps)


@pytest.mark.parametrize(
    ("training", "warmup", "decay"),
    [
        ({}, 3, 10),
        ({"decaySteps": 40}, 3, 40),
        ({"decaySteps": 100}, 0, 100),
        ({"warmupSteps": 95}, 95, 5),
        ({"warmupSteps": 60, "decaySteps": 40}, 60, 40),
    ],
)
def test_a_decay_that_is_not_given_is_a_tenth_and_both_fit_into_the_run(
    training: dict[str, int], warmup: int, decay: int
) -> None:
    chosen = scheduled(100, **training)
    assert (chosen.warmup_steps, chosen.decay_steps) == (warmup, decay)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"decaySteps": 11}, "11 steps of decay in a run of 10"),
        ({"decaySteps": 6, "warmupSteps": 5}, "6 steps of decay after 5 of warm-up in a run of 10"),
    ],
)
def test_a_decay_that_does_not_fit_into_the_run_is_refused(training: dict[str, int], message: str) -> None:
    with pytest.raises(StageFailed, match=f"^spec.training.decaySteps: {message}$") as failed:
        scheduled(10, **training)
    assert (failed.value.exit_code, failed.value.failure.field) == (ExitCode.BAD_CONFIG, "spec.training.decaySteps")


def test_what_is_evaluated_is_part_of_the_run_only_where_it_decides_when_training_ends() -> None:
    watched = {"sequenceLength": FULL, "earlyStopping": {"metric": "Loss"}}
    evaluation = {"everySteps": 7, "maxRows": 30}
    chosen = resolved(spec_with(training=watched, evaluation=evaluation))
    assert (chosen.validate_every, chosen.validation_rows) == (7, 30)
    assert run_of(spec_with(training=watched, evaluation=evaluation)) != run_of(spec_with(training=watched))
    assert resolved(spec_with(evaluation=evaluation)).validate_every is None


@pytest.mark.parametrize(
    ("workers", "cpuinfo", "expected"),
    [
        ({"gpusPerNode": 1}, "", Precision.BFLOAT16),
        ({}, "", Precision.FLOAT32),
        ({}, X86.format("avx512f"), Precision.FLOAT32),
        ({}, X86.format("avx512_bf16"), Precision.BFLOAT16),
        ({}, X86.format("amx_bf16"), Precision.BFLOAT16),
        ({}, "Features\t: fp asimd bf16\n", Precision.BFLOAT16),
    ],
)
def test_cpus_without_native_bfloat16_train_in_fp32(workers: dict[str, int], cpuinfo: str, expected: Precision) -> None:
    assert resolved(spec_with(workers=workers), cpuinfo=cpuinfo).precision is expected


def test_a_precision_that_is_given_is_kept() -> None:
    spec = spec_with(training={"sequenceLength": FULL, "precision": "BFloat16"})
    assert resolved(spec).precision is Precision.BFLOAT16


def test_adapters_go_to_every_linear_layer_unless_named() -> None:
    named = {"type": "LoRA", "lora": {"targetModules": ["v_proj", "q_proj"]}}
    assert resolved(spec_with()).target_modules == LINEAR_LAYERS
    assert resolved(spec_with(method=named)).target_modules == ("q_proj", "v_proj")


def test_a_layer_that_no_mistral_has_is_refused() -> None:
    spec = spec_with(method={"type": "LoRA", "lora": {"targetModules": ["q_proj", "c_attn"]}})
    with pytest.raises(StageFailed, match="no layer 'c_attn'") as failed:
        resolved(spec)
    assert failed.value.failure.field == "spec.method.lora.targetModules"


def test_rows_longer_than_the_models_positions_are_refused() -> None:
    config = read_config(
        {"model_type": "mistral"}
        | {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        | {"num_key_value_heads": 2, "max_position_embeddings": 1024}
    )
    plan.check_spec(spec_with(), config)
    with pytest.raises(StageFailed, match="made for 1024") as failed:
        plan.check_spec(spec_with(training={"sequenceLength": 1025}), config)
    assert failed.value.failure.field == "spec.training.sequenceLength"


TWO_BLOCKS = read_config(
    {"model_type": "mistral"}
    | {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    | {"num_key_value_heads": 2}
)


def test_no_more_blocks_can_get_adapters_than_there_are() -> None:
    plan.check_method(spec_with(method={"lora": {"lastLayers": 2}}), TWO_BLOCKS)
    with pytest.raises(StageFailed, match="3 blocks, the base model has 2") as failed:
        plan.check_method(spec_with(method={"lora": {"lastLayers": 3}}), TWO_BLOCKS)
    assert (failed.value.exit_code, failed.value.failure.field) == (64, "spec.method.lora.lastLayers")


def test_weights_in_4_bits_are_refused_before_anything_is_prepared_for_cpus() -> None:
    plan.check_method(spec_with(method={"type": "QLoRA"}, workers={"gpusPerNode": 1}), TWO_BLOCKS)
    with pytest.raises(StageFailed, match="on GPUs only") as failed:
        plan.check_method(spec_with(method={"type": "QLoRA"}), TWO_BLOCKS)
    assert (failed.value.exit_code, failed.value.failure.field) == (78, "spec.method.type")


def run_of(spec: Spec) -> str:
    return plan.run_digest(spec, resolved(spec), model_digest="m", data_digest="d")


@pytest.mark.parametrize(
    "change",
    [
        {"method": {"type": "LoRA", "lora": {"rank": 8}}},
        {"training": {"sequenceLength": FULL, "seed": 1}},
        {"training": {"sequenceLength": FULL, "learningRate": 1e-4}},
        {"training": {"sequenceLength": FULL, "precision": "BFloat16"}},
        {"task": {"type": "Completion"}},
        {"workers": {"gpusPerNode": 1}},
    ],
)
def test_what_decides_the_outcome_makes_another_run(change: dict[str, Any]) -> None:
    """GPUs do by way of the precision that is chosen for them."""
    assert run_of(spec_with(**change)) != run_of(spec_with())


@pytest.mark.parametrize(
    "change",
    [
        {"workers": {"nodes": 8}},
        {"deepspeed": {"zeroStage": 1}},
        {"memory": {"microBatchSize": 4}},
        {"checkpoint": {"intervalSeconds": 9}},
        {"evaluation": {"everySteps": 9}},
        {"restart": {"maxRestarts": 9}},
        {"deadlines": {"activeSeconds": 9000}},
        {"method": {"type": "LoRA", "lora": {"rank": 16}}},
    ],
)
def test_what_does_not_decide_the_outcome_is_the_same_run(change: dict[str, Any]) -> None:
    assert run_of(spec_with(**change)) == run_of(spec_with())


def test_an_adapter_to_go_on_from_is_told_by_its_content_not_by_its_place() -> None:
    runs = {
        (uri, digest): plan.run_digest(
            spec := spec_with(method={"lora": {"initialAdapterUri": uri}}),
            resolved(spec),
            model_digest="m",
            data_digest="d",
            adapter_digest=digest,
        )
        for uri, digest in [("s3://models/one", "x"), ("s3://models/two", "x"), ("s3://models/one", "y")]
    }
    one, moved, changed = runs.values()
    assert one == moved != changed
    assert run_of(spec_with()) not in runs.values()


def test_another_model_or_other_data_is_another_run() -> None:
    spec = spec_with()
    chosen = resolved(spec)
    digests = {
        plan.run_digest(spec, chosen, model_digest=model, data_digest=data)
        for model, data in [("m", "d"), ("n", "d"), ("m", "e")]
    }
    assert len(digests) == 3


def raw(name: str, **fields: Any) -> RawObject:
    stored = StoredObject(uri=f"s3://raw/{name}", size=1, etag="e")
    return RawObject(stored=stored, field="spec.data.sources[0].uri", kind=Format.TEXT, **fields)


def data_of(spec: Spec | None = None, **inputs: Any) -> str:
    objects = (raw("a.txt"), raw("b.txt"))
    given = {"objects": objects, "prints": {one.uri: one.uri for one in objects}, "tokenizer_digest": "t"}
    return plan.data_digest(spec or spec_with(), **(given | inputs))


@pytest.mark.parametrize(
    "change",
    [
        {"task": {"type": "Completion"}},
        {"data": {"cleaning": {"lineEndings": False}}},
        {"data": {"deduplication": "Off"}},
        {"data": {"decontamination": {"evaluation": False}}},
        {"data": {"split": {"seed": 1}}},
        {"data": {"overlong": "TruncatePrompt"}},
        {"training": {"sequenceLength": FULL + 1}},
    ],
)
def test_what_decides_the_data_makes_other_data(change: dict[str, Any]) -> None:
    assert data_of(spec_with(**change)) != data_of()


@pytest.mark.parametrize(
    "change",
    [
        {"objects": (raw("a.txt"),)},
        {"objects": (raw("a.txt"), raw("b.txt", text_document=TextDocument.PARAGRAPH))},
        {"objects": (raw("a.txt"), raw("b.txt", split=SourceSplit.TEST))},
        {"objects": (raw("a.txt", split=SourceSplit.TEST), raw("b.txt"))},
        {"objects": (raw("a.txt"), raw("b.txt", split=SourceSplit.VALIDATION))},
        {"prints": {"s3://raw/a.txt": "1", "s3://raw/b.txt": "2"}},
        {"tokenizer_digest": "u"},
        {"benchmarks": {"s3://exam.jsonl": "1"}},
        {"previous_digest": "p"},
        {"libraries": plan.LIBRARIES | {"pyarrow": "0"}},
        {"format_number": prepared.FORMAT + 1},
    ],
)
def test_other_inputs_make_other_data(change: dict[str, Any]) -> None:
    assert data_of(**change) != data_of()


def test_how_labels_are_weighed_makes_another_run_of_the_same_data() -> None:
    tasks = [
        {"type": "Classification", "classification": {"multiLabel": True, "classWeights": weights}}
        for weights in ("None", "Balanced")
    ]
    plain, balanced = (spec_with(task=task) for task in tasks)
    assert data_of(plain) == data_of(balanced) != data_of()
    assert run_of(plain) != run_of(balanced)


def test_the_libraries_that_shape_bytes_are_part_of_the_data() -> None:
    read = {"pyarrow"}
    cleaned = {"ftfy", "phonenumbers", "py3langid", "python-stdnum"}
    compared = {"rensa", "unicode", "prints"}
    encoded = {"jinja2", "mistral-common", "sentencepiece", "tiktoken", "tokenizers"}
    assert set(plan.LIBRARIES) == read | cleaned | compared | encoded
    assert data_of() == data_of(libraries=plan.LIBRARIES, format_number=prepared.FORMAT)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"maxBadRowPercent": 50}},
        {"data": {"minTrainRows": 50}},
        {"data": {"cacheUri": "s3://cache/x"}},
        {"training": {"sequenceLength": FULL, "epochs": 9}},
    ],
)
def test_data_is_used_again_by_jobs_that_differ_in_the_rest(change: dict[str, Any]) -> None:
    assert data_of(spec_with(**change)) == data_of()


def wont_fit(**parts: Any) -> StageFailed:
    spec = make_job(**{"training": {"sequenceLength": 4096}} | parts).spec
    with pytest.raises(StageFailed) as raised:
        plan.check_memory(spec, SEVEN_BILLION, PREPARED.resolved)
    assert (raised.value.exit_code, raised.value.failure.reason) == (ExitCode.BAD_CONFIG, "WontFit")
    return raised.value


def test_what_can_not_fit_is_refused_with_what_would() -> None:
    failed = wont_fit(workers={"gpusPerNode": 1, "gpuMemory": "16Gi"}, deepspeed={"zeroStage": 2})
    assert failed.failure.field == "spec.method.type"
    assert re.fullmatch(
        r"spec\.workers\.gpuMemory: training takes 17\.\d GiB at least, and there are 16\.0 GiB; "
        r"spec\.method\.type: QLoRA makes it fit",
        failed.failure.message,
    )


def test_what_fits_in_no_way_is_refused_before_the_data_is_read() -> None:
    spec = make_job(workers={"gpusPerNode": 1, "gpuMemory": "8Gi"}, training={"sequenceLength": 4096}).spec
    with pytest.raises(StageFailed) as raised:
        plan.check_memory(spec, SEVEN_BILLION)
    assert raised.value.failure.reason == "WontFit"
    roomy = make_job(workers={"gpusPerNode": 1, "gpuMemory": "80Gi"}, training={"sequenceLength": 4096}).spec
    plan.check_memory(roomy, SEVEN_BILLION)


def test_where_no_change_makes_it_fit_the_memory_is_named() -> None:
    failed = wont_fit(workers={"resources": {"memory": "4Gi"}})
    assert failed.failure.field == "spec.workers.resources.memory"
    assert failed.failure.message.endswith("there are 4.0 GiB; no single other change makes it fit")


@pytest.mark.parametrize(
    "workers", [{"gpusPerNode": 1, "gpuMemory": "80Gi"}, {"gpusPerNode": 1}, {"resources": {"memory": "64Gi"}}, {}]
)
def test_what_fits_or_may_fit_is_not_refused(workers: dict[str, Any]) -> None:
    plan.check_memory(make_job(workers=workers).spec, SEVEN_BILLION, PREPARED.resolved)
