"""Every word that the operator's and the trainer's images must spell alike."""

from enum import IntEnum, StrEnum
from importlib.metadata import version
from typing import Final

RELEASE: Final = version("finetune-api")
"""Of the image that asks: both images carry this package, in their own release's version."""

GROUP: Final = "finetune.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "finetune.dev/v1alpha1"
KIND: Final = "FineTuneJob"
PLURAL: Final = "finetunejobs"
FIELD_MANAGER: Final = "finetune-operator"

LABEL_MANAGED: Final = f"{GROUP}/managed"
"""`true` on every child: the server-side selector of all watches."""
LABEL_JOB: Final = f"{GROUP}/job"
LABEL_UID: Final = f"{GROUP}/job-uid"
LABEL_STAGE: Final = f"{GROUP}/stage"
"""A `Stage`, in lower case."""
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"

CONTAINER: Final = "trainer"
"""Name of the one container of a stage's pods."""


class Stage(StrEnum):
    """The two steps of a job, each run as Kubernetes Jobs."""

    PREPARE = "Prepare"
    TRAIN = "Train"


class ExitCode(IntEnum):
    """What the exit status of a stage's container means. All but 0, 75 and 143 say: the same input fails again."""

    DONE = 0
    BAD_CONFIG = 64
    MISMATCH = 65
    """Data or model are not what they should be: absent, corrupt, or another digest than before."""
    BAD_ROWS = 66
    CHECKPOINTS_CORRUPT = 67
    GPU_OUT_OF_MEMORY = 68
    DIVERGED = 69
    RETRY = 75
    """Watchdog, lost peer, S3 budget spent, fenced by a newer epoch: the next attempt may do better."""
    ACCESS_DENIED = 77
    UNSUPPORTED_HARDWARE = 78
    STOPPED = 143
    """Ended by SIGTERM."""


TERMINAL_EXIT_CODES: Final = frozenset(
    {
        ExitCode.BAD_CONFIG,
        ExitCode.MISMATCH,
        ExitCode.BAD_ROWS,
        ExitCode.CHECKPOINTS_CORRUPT,
        ExitCode.GPU_OUT_OF_MEMORY,
        ExitCode.DIVERGED,
        ExitCode.ACCESS_DENIED,
        ExitCode.UNSUPPORTED_HARDWARE,
    }
)


class Env(StrEnum):
    """Environment of a stage's container. Paths lie under the mount paths below, whose prefix LocalCluster rewrites."""

    SNAPSHOT = "FINETUNE_SNAPSHOT"
    """Path of the Snapshot to carry out."""
    SCRATCH = "FINETUNE_SCRATCH"
    """Writable directory on the node, gone with the pod."""
    RESULT = "FINETUNE_RESULT"
    """Path of the termination message: the Result goes here."""
    NODE_RANK = "JOB_COMPLETION_INDEX"
    """Set by the Job controller for Indexed Jobs."""
    RENDEZVOUS_HOST = "FINETUNE_RENDEZVOUS_HOST"
    """DNS name of rank 0's pod; train only."""
    RENDEZVOUS_PORT = "FINETUNE_RENDEZVOUS_PORT"
    PROGRESS_PORT = "FINETUNE_PROGRESS_PORT"
    """Port on which `GET /progress` answers with a Progress."""
    POD_NAME = "FINETUNE_POD_NAME"
    CORES = "FINETUNE_CORES"
    """CPU cores that the pod asked for, rounded up. Not with LocalCluster: there pods share a machine."""
    HOSTS = "FINETUNE_HOSTS"
    """LocalCluster only: JSON object, DNS name to address; asked before DNS."""
    VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


MOUNT_SNAPSHOT: Final = "/etc/finetune"
SNAPSHOT_FILE: Final = "snapshot.json"
"""Key in the ConfigMap and file name under MOUNT_SNAPSHOT."""
MOUNT_SCRATCH: Final = "/scratch"
MOUNT_SHM: Final = "/dev/shm"
TERMINATION_LOG: Final = "/dev/termination-log"

PORT_RENDEZVOUS: Final = 29500
PORT_PROGRESS: Final = 8080
PORT_NAME_RENDEZVOUS: Final = "rendezvous"
PORT_NAME_PROGRESS: Final = "progress"

SECRET_KEYS: Final = {
    "accessKeyId": "AWS_ACCESS_KEY_ID",
    "secretAccessKey": "AWS_SECRET_ACCESS_KEY",
    "sessionToken": "AWS_SESSION_TOKEN",
}
"""Keys of `storage.secretName`, and the variable each becomes."""
OPTIONAL_SECRET_KEYS: Final = frozenset({"sessionToken"})
HUB_SECRET_KEYS: Final = {"hfToken": "HF_TOKEN"}
"""The same for the Hugging Face Hub: optional, and for preparation only."""
MLFLOW_SECRET_KEYS: Final = {
    "token": "MLFLOW_TRACKING_TOKEN",
    "username": "MLFLOW_TRACKING_USERNAME",
    "password": "MLFLOW_TRACKING_PASSWORD",
}
"""Keys of `tracking.secretName`, and the variables that MLflow's client reads. All optional, as those of the next."""
WANDB_SECRET_KEYS: Final = {"apiKey": "WANDB_API_KEY"}
HUB_ENDPOINT: Final = "HF_ENDPOINT"
"""Variable that holds the URL of another Hub; huggingface_hub reads it."""

REASON_LOST_PEER: Final = "LostPeer"
"""Of the Failure of a rank that ended only because another one did."""

REASON_MICRO_BATCH_TOO_LARGE: Final = "MicroBatchTooLarge"
"""Of the Failure of a gang whose GPUs ran out of memory: the next attempt starts with half, uncounted."""

RESULT_MAX_BYTES: Final = 3500
"""Kubernetes cuts a termination message at 4096 bytes."""
