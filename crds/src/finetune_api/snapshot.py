"""What one attempt of a stage carries out: the spec as it stood when that was decided, immutable in a ConfigMap."""

from datetime import datetime

from finetune_api.contract import RELEASE, Stage
from finetune_api.model import Model
from finetune_api.result import MicroBatch, Prepared
from finetune_api.spec import Spec


class Envelope(Model):
    """What can be read of a Snapshot whatever release the operator is of."""

    stage: Stage
    attempt: int
    """1, 2, … within the stage."""
    release: str = RELEASE
    """Of the operator that wrote it."""


class Period(Model):
    """When something was done."""

    start_time: datetime
    finish_time: datetime


class Snapshot(Envelope):
    """Input of `finetune-trainer prepare`, `train` and `result`."""

    name: str
    namespace: str
    uid: str
    """Of the FineTuneJob: the owner written into HEAD.json."""
    spec: Spec
    prepared: Prepared | None = None
    """Train only: the Result of prepare."""
    preparation: Period | None = None
    """Train only: when prepare was at work, all its attempts and the time between them."""
    micro_batch: MicroBatch | None = None
    """Train only: what did not fit into a GPU's memory before."""
