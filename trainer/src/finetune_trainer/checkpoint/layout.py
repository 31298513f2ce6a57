"""What lies under a run's uri, under which keys, in which form."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime

from finetune_api.model import Model
from finetune_trainer.verified import Sha256

HEAD = "HEAD.json"
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
FORMAT: Literal[1] = 1


class Entry(Model):
    """One checkpoint or publication that exists."""

    step: int
    epoch: int
    """Under which it was written: part of its key."""
    manifest_sha256: Sha256
    best_step: int | None = None
    """Of the best validation until then, if that one's weights are to be published: its checkpoint stays with this."""


class Skipped(Model):
    """Steps of the plan that are never taken, for training went wrong there."""

    first: int
    last: int
    """Where that was noticed."""
    reason: str


class Head(Model):
    """HEAD.json: the only object of a run that is ever replaced, by compare-and-swap. What it lists exists."""

    format: Literal[1] = FORMAT
    epoch: int
    """Raised at every start of the gang; a writer with an older one is refused."""
    owner: str
    """UID of the FineTuneJob that the gang works for."""
    writer: str
    """Random, of one start of the gang: tells our own write from another's with the same content."""
    renewed: AwareDatetime | None
    """When the owner last said that it is alive; None: it has left."""
    checkpoints: tuple[Entry, ...] = ()
    """The newest last."""
    skipped: tuple[Skipped, ...] = ()
    """Counts from the roll-back on, whatever the checkpoint that a start finds was saved with."""
    published: Entry | None = None
    """The finished model."""


class Piece(Model):
    """A stretch of one parameter, flattened, that lies in a shard."""

    parameter: str
    start: int
    """First element, in the flattened parameter."""
    length: int
    offset: int
    """First element, in each of the shard's tensors."""


class Shard(Model):
    """What one rank wrote: a safetensors file with one flat fp32 tensor for each kind of state."""

    key: str
    """Relative to the run's uri."""
    size: int
    """Bytes."""
    sha256: Sha256
    pieces: tuple[Piece, ...]


class Manifest(Model):
    """A checkpoint: written once, after all its shards."""

    format: Literal[1] = FORMAT
    step: int
    """Optimizer steps that it holds."""
    epoch: int
    optimizer_step: int
    """AdamW's own count: smaller than `step` where updates were skipped."""
    shards: tuple[Shard, ...]
    """By rank of the gang that wrote it; none before the first step, when all is as base model and seed have it."""
    state: dict[str, Any]
    """What the training loop wants back."""


def run_uri(output_uri: str, run: str) -> str:
    """Where a run lies; `output_uri` is `spec.output.uri`."""
    return f"{output_uri.rstrip('/')}/runs/{run}"


def checkpoint_folder(step: int, epoch: int) -> str:
    """Relative to the run's uri."""
    return f"{CHECKPOINTS}/step-{step:08}/epoch-{epoch:04}"


def shard_key(step: int, epoch: int, rank: int) -> str:
    """Relative to the run's uri."""
    return f"{checkpoint_folder(step, epoch)}/rank-{rank:05}.safetensors"


def manifest_key(step: int, epoch: int) -> str:
    """Relative to the run's uri."""
    return f"{checkpoint_folder(step, epoch)}/{MANIFEST}"
