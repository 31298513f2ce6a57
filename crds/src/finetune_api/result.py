"""The last words of a stage: a termination message of at most 3,500 bytes. Reasons and places only, never data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from finetune_api.contract import RESULT_MAX_BYTES, Stage
from finetune_api.measured import Count, Measured
from finetune_api.model import Model
from finetune_api.shape import ModelShape
from finetune_api.spec import Precision


class Failure(Model):
    """Why a stage failed, for the person who will fix it."""

    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    """CamelCase, for machines."""
    message: Annotated[str, Field(max_length=1024)]
    """A sentence that says what to change."""
    field: Annotated[str, Field(max_length=256)] | None = None
    """The field of the FineTuneJob to change, such as `spec.data.sources`."""
    places: Annotated[tuple[Annotated[str, Field(max_length=256)], ...], Field(max_length=10)] = ()
    """`file:line` of the first offending rows."""


class SplitCounts(Model):
    """Rows of each split."""

    train: Count
    validation: Count
    test: Count


class DataSummary(Model):
    """What became of the raw rows: read = rejected + removed + train + validation + test."""

    files: Count
    rows_read: Count
    rows_cleaned: Count
    """Kept rows in which a repair changed something."""
    rows_rejected: Count
    """Unparseable or invalid; they count towards maxBadRowPercent."""
    rows_removed: Count
    """Duplicate or empty; listed, but never a failure."""
    rows_truncated: Count = 0
    """Kept rows whose oldest turns, or the start of whose question, were left out to make them fit."""
    splits: SplitCounts
    train_tokens: Count
    """Tokens of the train split, per epoch."""
    trained_tokens: Count
    """Those of them that carry loss."""


class Resolved(Model):
    """Values that the spec left open, as chosen. All decide the outcome and are part of the run."""

    total_steps: Count
    steps_per_epoch: Count
    global_batch_size: Count
    warmup_steps: Count
    decay_steps: Count = 0
    """Last steps of a schedule that has a decay of its own."""
    learning_rate: float
    precision: Precision
    target_modules: tuple[str, ...]
    """Names of the adapted layers; none where every weight is trained."""
    validate_every: Count | None = None
    """Optimizer steps between validations, where these decide when training ends."""
    validation_rows: Count | None = None
    """Rows of a validation, at most, where these decide when training ends."""


class Prepared(Model):
    """What training needs to know of preparation."""

    run: str
    """Digest over all that decides the outcome; names `<output.uri>/runs/<run>/`."""
    model_digest: str
    """Over config, weights and tokenizer of the base model."""
    adapter_digest: str | None = None
    """Over configuration and weights of the adapter that training goes on from."""
    data_uri: str
    """`…/prepared/<digest>`: shards, manifest, report, rejected rows."""
    data_digest: str
    """SHA-256 of its manifest, which has that of every file."""
    data: DataSummary
    resolved: Resolved
    published: Published | None = None
    """Set when this very run is already published: nothing is left to train."""


class Metrics(Model):
    """Of a split's first `evaluation.maxRows` rows. Losses in nats per trained token, or per row learnt as a whole."""

    base_test_loss: Measured = None
    """Of the base model, before training; of Classification, of who knows only how often train has each label."""
    test_loss: Measured = None
    validation_loss: Measured = None
    train_loss: Measured = None
    """Of the last optimizer step."""
    base_test_accuracy: Measured = None
    """Of the base model; where the task has labels, of who always answers the commonest."""
    test_accuracy: Measured = None
    """Share that is told right: of trained tokens; of Classification, of rows; of Preference, of pairs."""
    test_macro_f1: Measured = None
    """F1, the mean over labels."""
    base_exact_match: Measured = None
    exact_match: Measured = None
    """Share of answers, to the first `evaluation.generateRows` test rows, that are what was expected."""
    base_rouge_l: Measured = None
    rouge_l: Measured = None
    """ROUGE-L, the mean of its F measure, 0 to 1."""
    base_chrf: Measured = None
    chrf: Measured = None
    """chrF2, 0 to 100."""


class Published(Model):
    """The finished model."""

    step: Count
    epoch: Count
    """Fencing epoch under which it was published."""
    model_uri: str
    report_uri: str
    manifest_uri: str
    manifest_sha256: str
    metrics: Metrics


class MicroBatch(Model):
    """What did not fit into the memory of a gang's GPUs. The next attempt is told, and goes on from there."""

    tried: Count
    """Packed rows in one forward pass."""
    fits: Count
    """The most that are tried next."""
    halvings: Count
    """How often it has been halved, this time included."""


class Result(Model):
    """One of `failure`, `prepared`, `published`; of the command `data` none but `reportUri`, of `shape` but that."""

    stage: Stage
    attempt: Count
    failure: Failure | None = None
    prepared: Prepared | None = None
    published: Published | None = None
    checkpoint_step: Count | None = None
    """Train: the last committed checkpoint, also after a failure."""
    micro_batch: MicroBatch | None = None
    """Train: what did not fit, and what is tried next; the failure's reason is MicroBatchTooLarge."""
    report_uri: Annotated[str, Field(max_length=512)] | None = None
    """Prepare: the page about the data, also after a failure that the data is to blame for."""
    shape: ModelShape | None = None
    """Of the base model."""

    def encode(self) -> bytes:
        """JSON that fits a termination message: of a failure, the places go first, then the end of the message."""
        encoded = self._json()
        if len(encoded) <= RESULT_MAX_BYTES or self.failure is None:
            return encoded
        # Characters take one to six bytes in JSON, so the cut is found by trying.
        shorter = (self._cut(self.failure, length)._json() for length in range(len(self.failure.message), -1, -1))
        return next(encoded for encoded in shorter if len(encoded) <= RESULT_MAX_BYTES)

    def _cut(self, failure: Failure, length: int) -> Result:
        """Without places, and with so much of the failure's message."""
        message = failure.message if length == len(failure.message) else f"{failure.message[:length]}…"
        return self.model_copy(update={"failure": failure.model_copy(update={"places": (), "message": message})})

    def _json(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()
