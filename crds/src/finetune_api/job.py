"""The FineTuneJob object: metadata as far as the operator reads it, spec and status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict

from finetune_api.contract import API_VERSION, KIND
from finetune_api.model import Model
from finetune_api.rules import Rule
from finetune_api.spec import Spec
from finetune_api.status import Status

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""A job's name is the start of its children's names, one of which is a DNS label."""
NAME_MAX_LENGTH = 40


def _is_name(name: str) -> bool:
    return len(name) <= NAME_MAX_LENGTH and re.fullmatch(NAME_PATTERN, name) is not None


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

    rules = (
        Rule(
            cel=f"size(self.metadata.name) <= {NAME_MAX_LENGTH} && self.metadata.name.matches('{NAME_PATTERN}')",
            message=(
                f"must be at most {NAME_MAX_LENGTH} lower-case letters, digits and '-', "
                "begin with a letter and not end with '-'"
            ),
            holds=lambda job: _is_name(job.metadata.name),
            field="metadata.name",
        ),
    )

    @classmethod
    def observed(cls, body: Mapping[str, Any]) -> FineTuneJob:
        """Read what is stored; unknown fields of a newer CRD are ignored. Raises pydantic.ValidationError."""
        return cls.parse(body, ignore_unknown=True)
