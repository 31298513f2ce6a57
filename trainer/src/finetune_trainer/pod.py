"""The pod a stage runs in: everything it is told by its environment, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from finetune_api.contract import PORT_PROGRESS, PORT_RENDEZVOUS, RELEASE, Env, ExitCode
from finetune_api.snapshot import Envelope, Snapshot
from finetune_trainer.failures import StageFailed


@dataclass(frozen=True, kw_only=True)
class Pod:
    """Paths, ports and names of this pod; the same fields in a cluster and on one machine."""

    name: str
    snapshot: Path
    scratch: Path
    result: Path
    node_rank: int
    rendezvous_host: str
    """DNS name of rank 0's pod."""
    rendezvous_port: int
    progress_port: int
    cores: int | None
    """That it asked for; None: whatever the machine has."""
    hosts: Mapping[str, str]
    """Names that are known without DNS."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Pod:
        """Raises KeyError naming the variable that is not set."""
        return cls(
            name=environ.get(Env.POD_NAME, "pod"),
            snapshot=Path(environ[Env.SNAPSHOT]),
            scratch=Path(environ[Env.SCRATCH]),
            result=Path(environ[Env.RESULT]),
            node_rank=int(environ.get(Env.NODE_RANK, "0")),
            rendezvous_host=environ.get(Env.RENDEZVOUS_HOST, "localhost"),
            rendezvous_port=int(environ.get(Env.RENDEZVOUS_PORT, PORT_RENDEZVOUS)),
            progress_port=int(environ.get(Env.PROGRESS_PORT, PORT_PROGRESS)),
            cores=int(environ[Env.CORES]) if Env.CORES in environ else None,
            hosts=json.loads(environ.get(Env.HOSTS, "{}")),
        )

    def read_snapshot(self) -> Snapshot:
        """The Snapshot this pod carries out. Raises SnapshotUnknown."""
        content = json.loads(self.snapshot.read_bytes())
        try:
            return Snapshot.parse(content, ignore_unknown=True)
        except ValidationError as error:
            raise SnapshotUnknown(Envelope.parse(content, ignore_unknown=True), error) from error


class SnapshotUnknown(StageFailed):
    """The operator asks for what this trainer does not know."""

    def __init__(self, envelope: Envelope, error: ValidationError) -> None:
        problem = error.errors(include_url=False)[0]
        super().__init__(
            ExitCode.BAD_CONFIG,
            "SnapshotUnknown",
            f"this image's trainer has release {RELEASE} and cannot read what the operator of release "
            f"{envelope.release} asks for ({'.'.join(map(str, problem['loc']))}: {problem['msg']}): set "
            "spec.workers.image to a trainer of the operator's release, or leave it out",
            field="spec.workers.image",
        )
        self.envelope = envelope
