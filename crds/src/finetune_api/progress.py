"""What a running stage says of itself at `GET /progress`. Best effort, never an input to a decision."""

from datetime import datetime
from enum import StrEnum

from finetune_api.contract import Stage
from finetune_api.measured import Count, Shown
from finetune_api.model import Model
from finetune_api.spec import ActivationCheckpointing


class Activity(StrEnum):
    """What the stage is busy with."""

    READING = "Reading"
    ENCODING = "Encoding"
    STARTING = "Starting"
    """Waiting for peers, loading the model, restoring a checkpoint."""
    EVALUATING = "Evaluating"
    TRAINING = "Training"
    PUBLISHING = "Publishing"


class Progress(Model):
    """One reading. Counts are of optimizer steps, losses in nats per trained token, or per row learnt as a whole."""

    stage: Stage
    attempt: Count
    activity: Activity
    rows_read: Count | None = None
    """Prepare: rows read so far."""
    bytes_fetched: Count | None = None
    """Train: of the base model's files, how much has arrived on the disk of the first node."""
    bytes_total: Count | None = None
    """Train: size of the base model's files."""
    zero_stage: Count | None = None
    """Train: how state is divided, as chosen where the spec leaves it open."""
    activation_checkpointing: ActivationCheckpointing | None = None
    """Likewise, what the backward pass computes again."""
    micro_batch_size: Count | None = None
    """Likewise, packed rows in one forward pass of one process."""
    step: Count | None = None
    """Train: optimizer steps done, those of earlier attempts included."""
    total_steps: Count | None = None
    epoch: Shown = None
    loss: Shown = None
    """Of the last step's global batch."""
    validation_loss: Shown = None
    """The latest."""
    learning_rate: Shown = None
    gradient_norm: Shown = None
    """Of the last step, before clipping."""
    tokens_per_second: Shown = None
    """Trained and untrained tokens without padding, over all workers."""
    mfu: Shown = None
    """Model FLOPs utilisation: share of the GPUs' bf16 peak that the work itself takes, recomputation not counted."""
    memory_bytes: Count | None = None
    """Most that rank 0 has held: on its GPU, or of the machine's memory."""
    slowest_rank: Count | None = None
    """Whose forward passes of the last step took longest."""
    seconds_left: Count | None = None
    checkpoint_step: Count | None = None
    """The last committed checkpoint."""
    checkpoint_time: datetime | None = None
    """When it was heard of first."""
