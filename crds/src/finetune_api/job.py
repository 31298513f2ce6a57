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

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""A job's name is the start of its children's names, one of which is a DNS label."""
NAME_MAX_LENGTH = 40


class Metadata(Model):
    """The part of ObjectMeta that the operator reads."""

    model_config = ConfigDict(extra="ignore")

    name: str
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
        """Read what the API server stores; unknown fields of a newer CRD are ignored. Raises pydantic.ValidationError."""
        return cls.parse(body, ignore_unknown=True)
