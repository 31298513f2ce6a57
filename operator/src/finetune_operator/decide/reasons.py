"""Every reason that a condition or a failure of the operator's own carries. Those of the trainer come in its Result."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    # Where an unfinished job is.
    PENDING = "Pending"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    INADMISSIBLE = "Inadmissible"
    PREEMPTED = "Preempted"
    REQUEUED_AFTER_FAILURE = "RequeuedAfterFailure"
    STARTING = "Starting"
    TRAINING = "Training"
    STOPPING = "Stopping"
    BACK_OFF = "BackOff"
    SUSPENDED = "Suspended"
    # Why the pods of an attempt do not run yet.
    REFUSED = "Refused"
    NAME_TAKEN = "NameTaken"
    NO_PODS = "NoPods"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL = "ImagePull"
    CONTAINER_CONFIG = "ContainerConfig"
    # What may end it badly.
    OUTPUT_SHARED = "OutputShared"
    # What is settled.
    PREPARED = "Prepared"
    FEW_STEPS = "FewSteps"
    ADMITTED = "Admitted"
    NOT_QUEUED = "NotQueued"
    STARTED = "Started"
    NOT_SUSPENDED = "NotSuspended"
    IN_PROGRESS = "InProgress"
    # How a job ends.
    COMPLETED = "Completed"
    REUSED = "Reused"
    CANCELLED = "Cancelled"
    INVALID_SPEC = "InvalidSpec"
    STATUS_UNREADABLE = "StatusUnreadable"
    OUTPUT_EXISTS = "OutputExists"
    QUEUE_DEADLINE = "QueueDeadline"
    START_DEADLINE = "StartDeadline"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    RESTARTS_SPENT = "RestartsSpent"
    NO_PROGRESS = "NoProgress"
    # Why an attempt ended, where its pods do not say.
    OUT_OF_MEMORY = "OutOfMemory"
    EVICTED = "Evicted"
    DISRUPTED = "Disrupted"
    NODE_LOST = "NodeLost"
    DELETED = "Deleted"
    CRASHED = "Crashed"
    RESULT_UNREADABLE = "ResultUnreadable"


OBSTACLES: Final = frozenset(
    {
        Reason.REFUSED,
        Reason.NAME_TAKEN,
        Reason.NO_PODS,
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL,
        Reason.CONTAINER_CONFIG,
    }
)
"""Of pods that do not run yet: somebody may have to do something."""
