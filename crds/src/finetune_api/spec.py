"""What a person writes: the spec of a FineTuneJob. A field's docstring is its description in the CRD."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from finetune_api.model import Model

Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Quantity = Annotated[
    str, StringConstraints(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
]
InputUri = Annotated[
    str,
    StringConstraints(
        min_length=8,
        max_length=1024,
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?|file://[~/][^\s?#]*)$",
    ),
]
OutputUri = Annotated[
    str,
    StringConstraints(
        min_length=8,
        max_length=1024,
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#*]*)?|file://[~/][^\s?#*]*)$",
    ),
]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]
AnnotationValue = Annotated[str, StringConstraints(max_length=1024)]


class BaseModelSource(Model):
    """The pre-trained model to start from."""

    uri: OutputUri
    """Folder with config.json, safetensors and the tokenizer: `s3://bucket/prefix`, or `file:///path` with `finetune run`."""


class TaskType(StrEnum):
    INSTRUCTION = "Instruction"
    COMPLETION = "Completion"


class InstructionTask(Model):
    """Conversations or prompt and answer; the loss is on the assistant's tokens only. Row shapes are detected; names given here win."""

    messages_field: FieldName | None = None
    """Field that holds a list of `{role, content}` messages."""
    prompt_field: FieldName | None = None
    """Field that holds the prompt; needs `completionField`."""
    completion_field: FieldName | None = None
    """Field that holds the answer; needs `promptField`."""


class CompletionTask(Model):
    """Plain documents; the loss is on every token."""

    text_field: FieldName = "text"
    """Field that holds the document."""


class Task(Model):
    """What the model is to learn."""

    type: TaskType
    """Instruction or Completion."""
    instruction: InstructionTask | None = None
    """Settings of an Instruction task."""
    completion: CompletionTask | None = None
    """Settings of a Completion task."""


class Source(Model):
    """Raw rows."""

    uri: InputUri
    """One object or a glob (`*`, `**`, `?` is not a wildcard): `s3://bucket/prefix/*.jsonl`, or `file:///…` with `finetune run`."""


class Cleaning(Model):
    """Repairs, each with a detector that changes only what it found: a row that is clean comes out byte for byte."""

    byte_order_marks: bool = True
    """Remove U+FEFF at the start of a text."""
    control_characters: bool = True
    """Remove C0 controls other than tab and newline, and DEL."""
    line_endings: bool = True
    """CRLF and CR become LF."""
    trailing_blanks: bool = True
    """Remove blanks at line ends and blank lines at both ends of a text."""


class Deduplication(StrEnum):
    EXACT = "Exact"
    OFF = "Off"


class Split(Model):
    """How rows are divided. The three percentages add up to 100; a row's place depends on its content and the seed only."""

    train_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Share of rows to train on."""
    validation_percent: Annotated[int, Field(ge=0, le=99)] = 10
    """Share of rows evaluated during training."""
    test_percent: Annotated[int, Field(ge=0, le=99)] = 10
    """Share of rows evaluated once before and once after training."""
    group_by: FieldName | None = None
    """Rows that share this field's value stay in one split."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    """Another seed, another division."""


class Data(Model):
    """Raw data and what is done with it before any GPU is taken."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=64)]
    """Where the raw rows lie; read in sorted order."""
    cleaning: Cleaning = Cleaning()
    """Repairs; all on by default."""
    deduplication: Deduplication = Deduplication.EXACT
    """Exact: of rows with the same texts the first is kept."""
    split: Split = Split()
    """80/10/10 by default."""
    max_bad_row_percent: Annotated[int, Field(ge=0, le=100)] = 1
    """Rejected rows (unparseable or invalid) above this share end the job before training; fewer than 10 never do."""
    cache_uri: OutputUri | None = None
    """Where prepared data is kept and found again; absent: below `output.uri`."""


class MethodType(StrEnum):
    LORA = "LoRA"


class LoRA(Model):
    """Low-rank adapters (arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank of the update."""
    alpha: Annotated[int, Field(ge=1, le=2048)] = 32
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: Annotated[tuple[FieldName, ...], Field(min_length=1, max_length=16)] | None = None
    """Names of the linear layers that get an adapter; absent: every linear layer of the blocks."""


class Method(Model):
    """Which weights are trained."""

    type: MethodType = MethodType.LORA
    """LoRA."""
    lora: LoRA | None = None
    """Settings of LoRA."""


class Schedule(StrEnum):
    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Precision(StrEnum):
    BFLOAT16 = "BFloat16"
    FLOAT32 = "Float32"


class Training(Model):
    """The optimisation. All of it decides the outcome and is part of the run's identity."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the train split."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Stop after this many optimizer steps even when epochs are left."""
    learning_rate: Annotated[float, Field(ge=1e-9, le=1)] = 2e-4
    """Peak learning rate of AdamW."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Optimizer steps of linear warm-up; absent: 3 % of all steps."""
    schedule: Schedule = Schedule.COSINE
    """Decay after warm-up: Cosine or Linear to zero, or Constant."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Decoupled weight decay."""
    gradient_clip: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Largest global gradient norm; 0 switches clipping off."""
    sequence_length: Annotated[int, Field(ge=16, le=131_072)] = 4096
    """Tokens of one packed row."""
    global_batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Packed rows of `sequenceLength` in one optimizer step, over all workers; absent: chosen for at least 200 steps."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    """Order of the data, initial adapter and dropout."""
    precision: Precision | None = None
    """Of weights and activations; the optimizer is always fp32. Absent: BFloat16, or Float32 on CPUs without native bf16."""


class Evaluation(Model):
    """What is measured on the validation and test splits."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Optimizer steps between validations; the last step is always validated."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Largest number of rows of one split that are evaluated, the first by row order."""
    generate_rows: Annotated[int, Field(ge=0, le=256)] = 8
    """Test rows answered by the model before and after training, for the report."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 256
    """Longest generated answer."""


class Resources(Model):
    """Requests and limits of one worker pod."""

    cpu: Quantity | None = None
    """CPU request; no limit is set."""
    memory: Quantity | None = None
    """Memory request and limit."""
    scratch: Quantity | None = None
    """Size limit of the node-local scratch volume."""


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint that the pods tolerate, as in a pod's spec."""

    key: LabelKey | None = None
    """Taint key; absent with operator Exists: every taint."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """Exists or Equal."""
    value: LabelValue | None = None
    """Taint value, for Equal."""
    effect: TaintEffect | None = None
    """Absent: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """How long a NoExecute taint is tolerated."""


class Workers(Model):
    """The training gang: one pod per node, one process per GPU."""

    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods of the gang."""
    gpus_per_node: Annotated[int, Field(ge=0, le=16)] = 0
    """GPUs of each pod; 0 trains on CPU with one process per pod."""
    resources: Resources = Resources()
    """Absent values come from the operator's settings."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = {}
    """Labels a node must carry."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints that are tolerated; that of GPU nodes always is."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Trainer image; absent: the one of the operator's release."""
    service_account_name: Name | None = None
    """Identity of the pods, for keyless access to S3; its token for the Kubernetes API is never mounted."""


class DeepSpeed(Model):
    """How training state is divided among the workers; it does not change the outcome."""

    zero_stage: Annotated[int, Field(ge=1, le=2)] = 2
    """1 divides the optimizer's state, 2 the gradients too."""


class Memory(Model):
    """Trades memory for speed; none of it changes the outcome beyond rounding."""

    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Packed rows in one forward pass of one process."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass."""


class Checkpoint(Model):
    """How often training can be resumed from."""

    interval_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Wall time between checkpoints; one is also taken at the end and on SIGTERM."""
    keep_last: Annotated[int, Field(ge=1, le=100)] = 2
    """Committed checkpoints that are kept."""


class IfExists(StrEnum):
    REUSE = "Reuse"
    FAIL = "Fail"


class Output(Model):
    """Where runs, checkpoints and the published model go."""

    uri: OutputUri
    """`s3://bucket/prefix`, or `file:///path` with `finetune run`."""
    if_exists: IfExists = IfExists.REUSE
    """When this very run is already published there: Reuse it, or Fail."""


class Storage(Model):
    """Access to S3."""

    secret_name: Name | None = None
    """Secret with keys accessKeyId, secretAccessKey and optionally sessionToken; absent: the pods' own identity."""
    endpoint: Annotated[str, StringConstraints(max_length=512, pattern=r"^https?://[^\s]+$")] | None = None
    """URL of an S3-compatible server; absent: AWS."""
    region: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")] | None = None
    """Region of the buckets."""


class Restart(Model):
    """How many failures are forgiven. Disruptions (eviction, preemption, drain) are never counted."""

    max_restarts: Annotated[int, Field(ge=0, le=100)] = 5
    """Counted failures within the window that are followed by another attempt."""
    window_seconds: Annotated[int, Field(ge=60, le=604_800)] = 3600
    """Length of the sliding window."""


class Deadlines(Model):
    """When waiting ends in failure."""

    pending_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Longest time in a queue; absent: for ever."""
    start_seconds: Annotated[int, Field(ge=1, le=604_800)] = 900
    """Longest time from admission until all pods of a stage run: images, volumes, Secrets, free nodes."""
    active_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Longest time from the start of the job to its end, queueing and suspension included; absent: for ever."""


class Scheduling(Model):
    """Queueing with Kueue."""

    queue_name: Name | None = None
    """LocalQueue of the training gang."""
    prepare_queue_name: Name | None = None
    """LocalQueue of data preparation; absent: not queued."""
    priority_class: Name | None = None
    """WorkloadPriorityClass of both stages where they are queued."""


class PodMetadata(Model):
    """Added to every pod."""

    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = {}
    """Labels; those of finetune.dev and batch.kubernetes.io are refused."""
    annotations: Annotated[dict[LabelKey, AnnotationValue], Field(max_length=32)] = {}
    """Annotations."""


class Spec(Model):
    """A fine-tuning job."""

    model: BaseModelSource
    """The pre-trained model."""
    task: Task
    """What the model is to learn."""
    data: Data
    """What it learns from."""
    method: Method = Method()
    """Which weights are trained."""
    training: Training = Training()
    """The optimisation."""
    evaluation: Evaluation = Evaluation()
    """What is measured."""
    workers: Workers = Workers()
    """The training gang."""
    deepspeed: DeepSpeed = DeepSpeed()
    """Division of training state."""
    memory: Memory = Memory()
    """Memory against speed."""
    checkpoint: Checkpoint = Checkpoint()
    """Resuming."""
    output: Output
    """Where the result goes."""
    storage: Storage = Storage()
    """Access to S3."""
    restart: Restart = Restart()
    """Forgiven failures."""
    deadlines: Deadlines = Deadlines()
    """When waiting ends."""
    scheduling: Scheduling = Scheduling()
    """Queueing."""
    pod_metadata: PodMetadata = PodMetadata()
    """Labels and annotations of the pods."""
    suspend: bool = False
    """Stop and free all resources; false resumes from the last checkpoint."""
    cancel: bool = False
    """End the job for good; cannot be taken back."""
