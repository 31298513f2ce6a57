"""The parts of Kubernetes' own objects that we read, and whose children they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from finetune_api.contract import LABEL_ATTEMPT, LABEL_STAGE, LABEL_UID, Stage
from finetune_api.model import Model

# Numbers go on into names and the status, which hold only so much.
_NUMBER = re.compile("[0-9]{1,6}")
_STAGES = {stage.lower(): stage for stage in Stage}


class OwnerReference(Model):
    uid: str
    controller: bool = False


class ObjectMeta(Model):
    name: str
    namespace: str
    uid: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: datetime
    deletion_timestamp: datetime | None = None

    @property
    def controller_uid(self) -> str | None:
        """Uid of the object that controls this one."""
        return next((owner.uid for owner in self.owner_references if owner.controller), None)


@dataclass(frozen=True)
class Origin:
    """The FineTuneJob, stage and attempt that labels name. Anybody can write labels: owners are checked too."""

    job_uid: str
    stage: Stage
    attempt: int


def origin_of(meta: ObjectMeta) -> Origin | None:
    """None for labels that are not ours."""
    uid, stage, attempt = (meta.labels.get(label, "") for label in (LABEL_UID, LABEL_STAGE, LABEL_ATTEMPT))
    if not uid or stage not in _STAGES or not _NUMBER.fullmatch(attempt):
        return None
    return Origin(uid, _STAGES[stage], int(attempt))


class Condition(Model):
    type: str
    status: str
    reason: str = ""
    message: str = ""


def condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of this type where it is True."""
    return next((each for each in conditions if each.type == kind and each.status == "True"), None)


class AnyBody(Model):
    metadata: ObjectMeta


class JobSpec(Model):
    completions: int = 1
    suspend: bool = False


class JobStatus(Model):
    start_time: datetime | None = None
    succeeded: int = 0
    conditions: tuple[Condition, ...] = ()


class JobBody(AnyBody):
    spec: JobSpec
    status: JobStatus = JobStatus()


class WorkloadSpec(Model):
    active: bool = True


class WorkloadStatus(Model):
    conditions: tuple[Condition, ...] = ()


class WorkloadBody(AnyBody):
    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()


class Waiting(Model):
    reason: str = ""
    message: str = ""


class Running(Model):
    pass


class Terminated(Model):
    exit_code: int
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class ContainerState(Model):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Model):
    name: str
    image_id: Annotated[str, Field(alias="imageID")] = ""
    state: ContainerState = ContainerState()


class PodSpec(Model):
    node_name: str | None = None


class PodStatus(Model):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class PodBody(AnyBody):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
