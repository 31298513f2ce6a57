"""What a running stage says of itself at `GET /progress`. Best effort, never an input to a decision."""

from enum import StrEnum

from finetune_api.contract import Stage
from finetune_api.measured import Measured
from finetune_api.model import Model


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
    """One reading. Counts are of optimizer steps, losses in nats per trained token."""

    stage: Stage
    attempt: int
    activity: Activity
    rows_read: int | None = None
    """Prepare: rows read so far."""
    step: int | None = None
    """Train: optimizer steps done, those of earlier attempts included."""
    total_steps: int | None = None
    epoch: Measured = None
    loss: Measured = None
    """Of the last step's global batch."""
    validation_loss: Measured = None
    """The latest."""
    learning_rate: Measured = None
    tokens_per_second: Measured = None
    """Trained and untrained tokens without padding, over all workers."""
    seconds_left: int | None = None
    checkpoint_step: int | None = None
    """The last committed checkpoint."""
