from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_trainer.exposition import written

TRAINING = Progress(
    stage=Stage.TRAIN,
    attempt=2,
    activity=Activity.TRAINING,
    step=30,
    total_steps=300,
    loss=1.25,
    learning_rate=2e-4,
    memory_bytes=2**36,
    slowest_rank=0,
    checkpoint_step=20,
    checkpoint_time=datetime(2026, 1, 2, tzinfo=UTC),
)


def test_prometheus_reads_what_is_known_and_nothing_else():
    families = list(text_string_to_metric_families(written(TRAINING).decode()))
    assert {sample.name: sample.value for family in families for sample in family.samples} == {
        "finetune_attempt": 2,
        "finetune_step": 30,
        "finetune_total_steps": 300,
        "finetune_loss": 1.25,
        "finetune_learning_rate": 2e-4,
        "finetune_memory_bytes": 2**36,
        "finetune_slowest_rank": 0,
        "finetune_checkpoint_step": 20,
        "finetune_checkpoint_timestamp_seconds": 1767312000,
    }
    assert {family.type for family in families} == {"gauge"}
    assert all(family.documentation for family in families)
