"""The FineTuneJob object: metadata as far as the operator reads it, spec and status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict

from finetune_api.contract import API_VERSION, KIND
from finetune_api.model import Model
from finetune_api.spec import Spec
from finetune_api.status import Status
from finetune_api.strings import JobName


class Metadata(Model):
    """The part of ObjectMeta that the operator reads."""

    model_config = ConfigDict(extra="ignore")

    name: JobName
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class FineTuneJob(Model):
    """One job, as stored."""

    api_version: Literal["finetune.dev/v1alpha1"] = API_VERSION
    kind: Literal["FineTuneJob"] = KIND
    metadata: Metadata
    spec: Spec
    status: Status = Status()

    @classmethod
    def observed(cls, body: Mapping[str, Any]) -> FineTuneJob:
        """Read what is stored; unknown fields of a newer CRD are ignored. Raises pydantic.ValidationError."""
        return cls.parse(body, ignore_unknown=True)
