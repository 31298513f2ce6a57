"""What a person writes: the spec of a FineTuneJob. A field's docstring is its description in the CRD."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from finetune_api.model import Model
from finetune_api.mutability import Mutability
from finetune_api.rules import Rule, union
from finetune_api.strings import (
    BoilerplateLine,
    Bytes,
    Cores,
    Endpoint,
    FieldName,
    Image,
    InputUri,
    LabelDelimiter,
    LabelMapping,
    LabelName,
    LabelValue,
    LanguageCode,
    ModuleName,
    Name,
    NodeLabels,
    OutputUri,
    PodAnnotations,
    PodLabels,
    QueueName,
    Region,
    TaintKey,
    TrackingProject,
)


class BaseModelSource(Model):
    """The pre-trained model to start from."""

    uri: OutputUri
    """Folder with config.json, safetensors and the tokenizer: `s3://bucket/prefix`; with `finetune run` also `file:///path`."""


class TaskType(StrEnum):
    INSTRUCTION = "Instruction"
    COMPLETION = "Completion"
    CLASSIFICATION = "Classification"
    PREFERENCE = "Preference"


class InstructionTask(Model):
    """Conversations, or prompt and answer; loss on the answers only. Shapes are detected; names given here win."""

    messages_field: FieldName | None = None
    """Field that holds a list of `{role, content}` messages."""
    prompt_field: FieldName | None = None
    """Field that holds the prompt; needs `completionField`."""
    completion_field: FieldName | None = None
    """Field that holds the answer; needs `promptField`."""
    input_field: FieldName | None = None
    """Field that holds what the prompt is about, put under it where it is not empty; needs `promptField`."""
    system_field: FieldName | None = None
    """Field that holds the system prompt, empty where a row has none; absent: `system` of Alpaca and ShareGPT rows."""
    tools_field: FieldName | None = None
    """Field that holds definitions of tools, empty where a row has none; absent: `tools`, or else `functions`."""

    rules = (
        Rule(
            cel="has(self.promptField) || !has(self.completionField)",
            message="is needed with completionField",
            holds=lambda task: task.prompt_field is not None or task.completion_field is None,
            field="promptField",
        ),
        Rule(
            cel="has(self.completionField) || !has(self.promptField)",
            message="is needed with promptField",
            holds=lambda task: task.completion_field is not None or task.prompt_field is None,
            field="completionField",
        ),
        Rule(
            cel="has(self.promptField) || !has(self.inputField)",
            message="is only for rows with promptField",
            holds=lambda task: task.prompt_field is not None or task.input_field is None,
            field="inputField",
        ),
        Rule(
            cel="!has(self.messagesField) || !(has(self.promptField) || has(self.completionField))",
            message="must not be set with promptField and completionField: a row has one shape",
            holds=lambda task: task.messages_field is None or (task.prompt_field or task.completion_field) is None,
            field="messagesField",
        ),
    )


class CompletionTask(Model):
    """Plain documents; the loss is on every token."""

    text_field: FieldName = "text"
    """Field that holds the document."""


class ClassWeights(StrEnum):
    NONE = "None"
    BALANCED = "Balanced"


class ClassificationTask(Model):
    """Texts and their labels. Where rows with one text differ, the labels of more than half of them count."""

    text_field: FieldName = "text"
    """Field that holds the text."""
    label_field: FieldName = "label"
    """Field that holds the label: text, a number, a boolean, or a list of them. A row may have `labels` for `label`."""
    multi_label: bool = False
    """A text may have several labels, or none; absent: exactly one."""
    label_delimiter: LabelDelimiter | None = None
    """What stands between labels where one string holds several, such as `;`; needs `multiLabel`."""
    labels: Annotated[tuple[LabelName, ...], Field(min_length=1, max_length=1000)] | None = None
    """All there are, in the order of their ids; rows with another are rejected. Absent: those of the rows, sorted."""
    label_mapping: LabelMapping = {}
    """Labels that are to be called otherwise, as in `{biling: billing}`. The report suggests some, and changes none."""
    label_spelling: bool = True
    """Of labels that differ in case and blanks only, all become the most frequent."""
    class_weights: ClassWeights = ClassWeights.NONE
    """None: every row counts alike. Balanced: every label does, however few rows have it."""

    rules = (
        Rule(
            cel="!has(self.labelDelimiter) || self.multiLabel",
            message="needs multiLabel",
            holds=lambda task: task.label_delimiter is None or task.multi_label,
            field="labelDelimiter",
        ),
        Rule(
            cel="!has(self.labels) || size(self.labels) > 1 || self.multiLabel",
            message="must be two at least, or there is nothing to tell apart",
            holds=lambda task: task.labels is None or len(task.labels) > 1 or task.multi_label,
            field="labels",
        ),
    )


class PreferenceTask(Model):
    """Pairs of answers, all texts or all lists of messages, by direct preference optimization (DPO). Needs adapters."""

    prompt_field: FieldName | None = None
    """Field that holds the prompt; absent: `prompt`, where rows have it, else both conversations begin with it."""
    chosen_field: FieldName = "chosen"
    """Field that holds the better answer, or the conversation that ends with it."""
    rejected_field: FieldName = "rejected"
    """Field that holds the other one."""
    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """How dear it is to move away from where training began: the smaller, the further the answers may move."""


LARGEST_CHOSEN_BATCH: Final = 64
"""Rows that an absent globalBatchSize becomes at most."""
_OF_TRAINING_ONLY: Final = {"classification": {"class_weights"}, "preference": {"beta"}}


class Task(Model):
    """What the model is to learn."""

    type: TaskType
    """Instruction, Completion, Classification or Preference."""
    instruction: InstructionTask | None = None
    """Settings of an Instruction task; absent: its defaults."""
    completion: CompletionTask | None = None
    """Settings of a Completion task; absent: its defaults."""
    classification: ClassificationTask | None = None
    """Settings of a Classification task; absent: its defaults."""
    preference: PreferenceTask | None = None
    """Settings of a Preference task; absent: its defaults."""

    rules = union(
        {
            TaskType.INSTRUCTION: "instruction",
            TaskType.COMPLETION: "completion",
            TaskType.CLASSIFICATION: "classification",
            TaskType.PREFERENCE: "preference",
        }
    )

    @property
    def of_data(self) -> dict[str, Any]:
        """What of it decides how rows are prepared: jobs that differ in the rest share their data."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_OF_TRAINING_ONLY)


class TextDocument(StrEnum):
    FILE = "File"
    PARAGRAPH = "Paragraph"


class SourceSplit(StrEnum):
    VALIDATION = "Validation"
    TEST = "Test"


class Source(Model):
    """Raw rows. A name's end says the format: jsonl, ndjson, json, csv, tsv, parquet, arrow or txt; also gz or zst."""

    uri: InputUri
    """One object or a glob of `*` and `**`: `s3://…/*.jsonl`, `hf://datasets/…`; with `finetune run` also `file:///…`."""
    text_document: TextDocument | None = None
    """What of a .txt file is one row: the File, or each Paragraph between blank lines. Absent: File."""
    split: SourceSplit | None = None
    """All rows are for Validation, or for Test; absent: they are divided."""


class PersonalData(StrEnum):
    EMAIL = "Email"
    PHONE = "Phone"
    IBAN = "Iban"
    CARD = "Card"
    KEY = "Key"


class Cleaning(Model):
    """Repairs, on by default: each changes only what its detector found. Rewrites and filters, off by default."""

    byte_order_marks: bool = True
    """Remove U+FEFF at the start of a text."""
    control_characters: bool = True
    """Remove terminal sequences, C0 controls other than tab and newline, and DEL; form feeds stay in code."""
    empty_texts: bool = True
    """A text without a visible character counts as empty, and an empty system message is left out."""
    html: bool = True
    """A text that is rich text in HTML as a whole becomes Markdown; HTML source, and rows about markup, stay."""
    html_entities: bool = True
    """Entities become characters in texts without tags; code, and rows about markup, stay."""
    invisible_characters: bool = True
    """Remove zero-width and bidi characters, except where a script, an emoji or right-to-left text needs them."""
    line_endings: bool = True
    """CRLF and CR become LF."""
    mojibake: bool = True
    """Decode what a wrong encoding broke, once or twice; code, and rows about encodings, stay."""
    runaway_spaces: bool = True
    """In prose: three or more blanks within a long line become one, three or more blank lines become one."""
    trailing_blanks: bool = True
    """In prose: remove blanks at line ends and blank lines at both ends; line breaks of Markdown stay."""
    boilerplate_lines: Annotated[tuple[BoilerplateLine, ...], Field(max_length=256)] = ()
    """Remove lines that equal one of these, apart from outer blanks."""
    personal_data: Annotated[tuple[PersonalData, ...], Field(max_length=5)] = ()
    """Mask these as [EMAIL], [PHONE] (with a leading +), [IBAN] and [CARD] (valid check digits), [KEY]."""
    tags: bool = False
    """Remove every HTML tag, script and style. It breaks code."""
    unicode_composition: bool = False
    """Normalise to NFC. It changes Hindi, Hebrew and Korean text."""
    whitespace: bool = False
    """One blank for every run of blanks, one blank line at most. It breaks code and tables."""
    languages: Annotated[tuple[LanguageCode, ...], Field(max_length=64)] = ()
    """Keep only rows in these languages (ISO 639-1); those too short to tell stay. Empty: all."""
    min_characters: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Remove rows whose texts are shorter together."""
    max_characters: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Remove rows whose texts are longer together; absent: no limit."""


class Deduplication(StrEnum):
    NEAR = "Near"
    EXACT = "Exact"
    OFF = "Off"


class Benchmark(Model):
    """Rows that will be measured with, of any shape."""

    uri: InputUri
    """One object or a glob, as of a source."""


class Decontamination(Model):
    """Rows that must not meet: found by half or more of their rarer sequences of 13 words."""

    evaluation: bool = True
    """Remove validation and test rows that train rows quote."""
    benchmarks: Annotated[tuple[Benchmark, ...], Field(max_length=64)] = ()
    """Rows that quote one of these are removed."""


class Assignment(StrEnum):
    EXACT = "Exact"
    STABLE = "Stable"


class Split(Model):
    """How rows are divided. The percentages add up to 100; duplicates, kept or not, are never parted."""

    assignment: Assignment = Assignment.EXACT
    """Exact: the percentages are met. Stable: met on average, and rows stay when unlike ones are added."""
    train_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Share of rows to train on."""
    validation_percent: Annotated[int, Field(ge=0, le=99)] = 10
    """Share of rows evaluated during training; of no meaning where a source is Validation."""
    test_percent: Annotated[int, Field(ge=0, le=99)] = 10
    """Share of rows evaluated once before and once after training; of no meaning where a source is Test."""
    group_by: FieldName | None = None
    """Rows that share this field's value stay in one split."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    """Another seed, another division."""
    previous_uri: OutputUri | None = None
    """Prepared data of before, `…/prepared/<digest>`: its rows stay in their splits, whatever is added before them."""

    rules = (
        Rule(
            cel="self.trainPercent + self.validationPercent + self.testPercent == 100",
            message="must have trainPercent, validationPercent and testPercent that add up to 100",
            holds=lambda split: split.train_percent + split.validation_percent + split.test_percent == 100,
        ),
    )


class Overlong(StrEnum):
    REJECT = "Reject"
    TRUNCATE_PROMPT = "TruncatePrompt"


class Data(Model):
    """Raw data and what is done with it before any GPU is taken."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=64)]
    """Where the raw rows lie; read in sorted order."""
    cleaning: Cleaning = Cleaning()
    deduplication: Deduplication = Deduplication.NEAR
    """Of rows with the same texts (Exact), or nearly the same words too (Near), the first is kept."""
    decontamination: Decontamination = Decontamination()
    split: Split = Split()
    overlong: Overlong = Overlong.REJECT
    """Above `sequenceLength`: Reject (always pairs), or TruncatePrompt: old turns, a question's start, a text's end."""
    max_bad_row_percent: Annotated[int, Field(ge=0, le=100)] = 1
    """Rejected rows (unparseable or invalid) above this share end the job before training; fewer than 10 never do."""
    min_train_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1
    """With fewer rows left to train on the job ends before training: removed ones (duplicates, …) never end it."""
    cache_uri: OutputUri | None = None
    """Where prepared data is kept and found again; absent: below `output.uri`."""


class MethodType(StrEnum):
    LORA = "LoRA"
    QLORA = "QLoRA"
    FULL = "Full"


class LoRA(Model):
    """Low-rank adapters (arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank of the update."""
    alpha: Annotated[int, Field(ge=1, le=2048)] = 32
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: Annotated[tuple[ModuleName, ...], Field(min_length=1, max_length=16)] | None = None
    """Names of the linear layers that get an adapter; absent: every linear layer of the blocks."""
    last_layers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Only so many blocks, the last ones, get adapters; absent: all."""
    rank_stabilized: bool = False
    """Scale the update by alpha / √rank instead (arXiv 2312.03732)."""
    initial_adapter_uri: OutputUri | None = None
    """Adapter for this very base model (adapter_model.safetensors) to go on from; Preference also compares with it."""


class Method(Model):
    """Which weights are trained."""

    type: MethodType = MethodType.LORA
    """LoRA: adapters. QLoRA: adapters on a base model in 4 bits, on GPUs with ZeRO 1 or 2. Full: every weight."""
    lora: LoRA | None = None
    """Settings of the adapters of LoRA and QLoRA; absent: their defaults."""

    rules = (
        Rule(
            cel="!has(self.lora) || !has(self.type) || self.type != 'Full'",
            message="is only for types LoRA and QLoRA",
            holds=lambda method: method.lora is None or method.type is not MethodType.FULL,
            field="lora",
        ),
    )

    @property
    def adapter(self) -> LoRA | None:
        """Settings of the adapters; None where every weight is trained."""
        return None if self.type is MethodType.FULL else self.lora or LoRA()


class Schedule(StrEnum):
    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"
    WARMUP_STABLE_DECAY = "WarmupStableDecay"


class Watched(StrEnum):
    LOSS = "Loss"
    ACCURACY = "Accuracy"
    MACRO_F1 = "MacroF1"


class EarlyStopping(Model):
    """End when validations no longer get better, and publish the weights of the best one."""

    metric: Watched = Watched.LOSS
    """Loss, the lower the better; of a Classification task also Accuracy or MacroF1."""
    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    """Validations in a row, `evaluation.everySteps` apart, that may be no better than the best."""


class Precision(StrEnum):
    BFLOAT16 = "BFloat16"
    FLOAT32 = "Float32"


class Training(Model):
    """The optimisation. All of it decides the outcome and is part of the run's identity."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the train split."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Stop after this many optimizer steps even when epochs are left."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate of AdamW; absent: 2e-4 for adapters, 1e-5 where every weight is trained."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Optimizer steps of linear warm-up; absent: 3 % of all steps."""
    schedule: Schedule = Schedule.COSINE
    """After warm-up: Cosine or Linear to zero, Constant, or WarmupStableDecay: constant, then linear to zero."""
    decay_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Last optimizer steps, in which WarmupStableDecay goes to zero; absent: a tenth of all steps."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Decoupled weight decay."""
    gradient_clip: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Largest global gradient norm; 0 switches clipping off."""
    sequence_length: Annotated[int, Field(ge=16, le=131_072)] = 4096
    """Tokens of one packed row."""
    global_batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Packed rows of `sequenceLength` per optimizer step, over all workers; absent: chosen for at least 200 steps."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    """Order of the data, initial adapter and dropout."""
    precision: Precision | None = None
    """Of weights and activations; the optimizer is fp32. Absent: BFloat16, or Float32 on a CPU without native bf16."""
    early_stopping: EarlyStopping | None = None
    """When to end before all steps are taken, `evaluation` being as it is at the start; absent: never."""

    rules = (
        Rule(
            cel="!has(self.decaySteps) || (has(self.schedule) && self.schedule == 'WarmupStableDecay')",
            message="is only for schedule WarmupStableDecay",
            holds=lambda training: training.decay_steps is None or training.schedule is Schedule.WARMUP_STABLE_DECAY,
            field="decaySteps",
        ),
        Rule(
            cel="!has(self.warmupSteps) || !has(self.maxSteps) || self.warmupSteps <= self.maxSteps",
            message="must not be more than maxSteps",
            holds=lambda training: (
                training.warmup_steps is None
                or training.max_steps is None
                or training.warmup_steps <= training.max_steps
            ),
            field="warmupSteps",
        ),
    )


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
    """Requests and limits of one worker pod. Absent values come from the operator's settings."""

    cpu: Cores | None = None
    """CPU request, and by it the number of threads; no limit is set."""
    memory: Bytes | None = None
    """Memory request and limit."""
    scratch: Bytes | None = None
    """Size limit of the scratch volume."""
    scratch_storage_class: Name | None = None
    """StorageClass of the scratch volume, that of preparation too, which goes with its pod; absent: the node's disk."""


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint that the pods tolerate, as in a pod's spec."""

    key: TaintKey | None = None
    """Taint key; absent with operator Exists: every taint."""
    operator: TolerationOperator | None = None
    """Exists or Equal; absent: Equal."""
    value: LabelValue | None = None
    """Taint value, for Equal."""
    effect: TaintEffect | None = None
    """Absent: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """How long a NoExecute taint is tolerated; absent: for ever."""

    rules = (
        Rule(
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="is needed unless operator is Exists",
            holds=lambda toleration: toleration.key is not None or toleration.operator == TolerationOperator.EXISTS,
            field="key",
        ),
        Rule(
            cel="!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
            message="must not be set when operator is Exists",
            holds=lambda toleration: toleration.value is None or toleration.operator != TolerationOperator.EXISTS,
            field="value",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="is only for effect NoExecute",
            holds=lambda toleration: (
                toleration.toleration_seconds is None or toleration.effect == TaintEffect.NO_EXECUTE
            ),
            field="tolerationSeconds",
        ),
    )


class Workers(Model):
    """The training gang: one pod per node, one process per GPU."""

    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods of the gang."""
    gpus_per_node: Annotated[int, Field(ge=0, le=16)] = 0
    """GPUs of each pod; 0 trains on CPU with one process per pod."""
    gpu_memory: Bytes | None = None
    """Memory of one GPU, such as 80Gi. With it preparation refuses what cannot fit before a GPU is waited for."""
    resources: Resources = Resources()
    node_selector: NodeLabels = {}
    """Labels a node must carry."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints that are tolerated; that of GPU nodes always is."""
    image: Image | None = None
    """Trainer image; absent: the one of the operator's release."""
    service_account_name: Name | None = None
    """Identity of the pods, for keyless access to S3; its token for the Kubernetes API is never mounted."""


class DeepSpeed(Model):
    """How training state is divided among the workers; it does not change the outcome."""

    zero_stage: Annotated[int, Field(ge=1, le=3)] | None = None
    """1 divides the optimizer's state, 2 the gradients too, 3 the weights too. Absent: the smallest that fits."""


class ActivationCheckpointing(StrEnum):
    FULL = "Full"
    SELECTIVE = "Selective"
    NONE = "None"


class AttentionKernel(StrEnum):
    VARLEN = "Varlen"
    FLASH_ATTENTION = "FlashAttention"
    FLEX = "Flex"
    SDPA = "Sdpa"


class Memory(Model):
    """Trades memory for speed; none of it changes the outcome beyond rounding."""

    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Packed rows in one forward pass of one process; absent: as many as fit."""
    activation_checkpointing: ActivationCheckpointing | None = None
    """Recompute whole blocks (Full), their cheap parts (Selective) or nothing (None); absent: what memory asks for."""
    compile: bool = False
    """Compile the blocks with torch.compile: minutes at the start, faster steps on GPUs."""
    attention: AttentionKernel | None = None
    """Kernel of attention; absent: the fastest that is there."""


class Checkpoint(Model):
    """How often training can be resumed from."""

    interval_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Wall time between checkpoints; one is also taken at the end and on SIGTERM."""
    keep_last: Annotated[int, Field(ge=1, le=100)] = 2
    """Committed checkpoints that stay, 12 bytes a trained weight each; up to two more where ten steps outlast them."""


class IfExists(StrEnum):
    REUSE = "Reuse"
    FAIL = "Fail"


class Output(Model):
    """Where runs, checkpoints and the published model go."""

    uri: OutputUri
    """`s3://bucket/prefix`, or `file:///path` with `finetune run`."""
    if_exists: IfExists = IfExists.REUSE
    """When this very run is already published there: Reuse it, or Fail."""
    merge: bool = False
    """Publish, beside the adapter, the base model with the adapter merged into it."""


class Storage(Model):
    """Access to S3, and to datasets of the Hugging Face Hub that are not public."""

    secret_name: Name | None = None
    """Secret with keys accessKeyId, secretAccessKey, maybe sessionToken and hfToken; absent: the pods' own identity."""
    endpoint: Endpoint | None = None
    """URL of an S3-compatible server; absent: AWS."""
    region: Region | None = None
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
    """Queueing with Kueue. A ClusterQueue must cover all that pods ask for: cpu, memory, ephemeral-storage and GPUs."""

    queue_name: QueueName | None = None
    """LocalQueue of the training gang; absent: not queued."""
    prepare_queue_name: QueueName | None = None
    """LocalQueue of data preparation; absent: not queued."""
    priority_class: QueueName | None = None
    """WorkloadPriorityClass of the stages that are queued."""

    rules = (
        Rule(
            cel="!has(self.priorityClass) || has(self.queueName) || has(self.prepareQueueName)",
            message="needs a queueName or a prepareQueueName",
            holds=lambda scheduling: (
                scheduling.priority_class is None
                or (scheduling.queue_name or scheduling.prepare_queue_name) is not None
            ),
            field="priorityClass",
        ),
    )


class TrackingType(StrEnum):
    NONE = "None"
    MLFLOW = "MLflow"
    WANDB = "WandB"


class Tracking(Model):
    """Where curves and metrics are sent while training goes on. A tracker that is away never ends a job."""

    type: TrackingType = TrackingType.NONE
    """None, MLflow or WandB."""
    uri: Endpoint | None = None
    """URL of the server; needed for MLflow, absent for WandB: its cloud."""
    project: TrackingProject | None = None
    """Project of WandB, experiment of MLflow; absent: `finetune`."""
    secret_name: Name | None = None
    """Secret with key token, or username and password (MLflow), or apiKey (WandB)."""

    rules = (
        Rule(
            cel="has(self.uri) || !has(self.type) || self.type != 'MLflow'",
            message="is needed for MLflow",
            holds=lambda tracking: tracking.uri is not None or tracking.type is not TrackingType.MLFLOW,
            field="uri",
        ),
    )


class PodMetadata(Model):
    """Added to every pod. Keys of finetune.dev, batch.kubernetes.io and kueue.x-k8s.io are refused."""

    labels: PodLabels = {}
    """Labels."""
    annotations: PodAnnotations = {}
    """Annotations."""


class Spec(Model):
    """A fine-tuning job."""

    model: Annotated[BaseModelSource, Mutability.IDENTITY]
    task: Annotated[Task, Mutability.IDENTITY]
    data: Annotated[Data, Mutability.IDENTITY]
    method: Annotated[Method, Mutability.IDENTITY] = Method()
    training: Annotated[Training, Mutability.IDENTITY] = Training()
    evaluation: Annotated[Evaluation, Mutability.OPERATIONAL] = Evaluation()
    workers: Annotated[Workers, Mutability.OPERATIONAL] = Workers()
    deepspeed: Annotated[DeepSpeed, Mutability.OPERATIONAL] = DeepSpeed()
    memory: Annotated[Memory, Mutability.OPERATIONAL] = Memory()
    checkpoint: Annotated[Checkpoint, Mutability.OPERATIONAL] = Checkpoint()
    output: Annotated[Output, Mutability.IDENTITY]
    storage: Annotated[Storage, Mutability.OPERATIONAL] = Storage()
    restart: Annotated[Restart, Mutability.OPERATIONAL] = Restart()
    deadlines: Annotated[Deadlines, Mutability.CONTROL] = Deadlines()
    scheduling: Annotated[Scheduling, Mutability.OPERATIONAL] = Scheduling()
    tracking: Annotated[Tracking, Mutability.OPERATIONAL] = Tracking()
    pod_metadata: Annotated[PodMetadata, Mutability.OPERATIONAL] = PodMetadata()
    suspend: Annotated[bool, Mutability.CONTROL] = False
    """Stop and free all resources; false resumes from the last checkpoint."""
    cancel: Annotated[bool, Mutability.LATCH] = False
    """End the job for good; cannot be taken back."""

    @property
    def publishes_merged(self) -> bool:
        """Whether there is an adapter, and it is asked for in its base model, too."""
        return self.output.merge and self.method.adapter is not None

    rules = (
        Rule(
            cel="self.task.type != 'Preference' || !has(self.method) || !has(self.method.type) || "
            "self.method.type != 'Full'",
            message="must be LoRA or QLoRA, which leave the model as it began: what Preference compares with",
            holds=lambda spec: spec.task.type is not TaskType.PREFERENCE or spec.method.type is not MethodType.FULL,
            field="method.type",
        ),
        Rule(
            cel="!has(self.training.earlyStopping) || self.training.earlyStopping.metric == 'Loss' || "
            "self.task.type == 'Classification'",
            message="must be Loss: only a Classification task has labels to be right about",
            holds=lambda spec: (
                spec.training.early_stopping is None
                or spec.training.early_stopping.metric is Watched.LOSS
                or spec.task.type is TaskType.CLASSIFICATION
            ),
            field="training.earlyStopping.metric",
        ),
        Rule(
            cel="!has(self.deepspeed) || !has(self.deepspeed.zeroStage) || self.deepspeed.zeroStage < 3"
            " || !has(self.method) || !has(self.method.type) || self.method.type != 'QLoRA'",
            message="must be 1 or 2 for QLoRA, whose weights in 4 bits cannot be divided",
            holds=lambda spec: spec.deepspeed.zero_stage != 3 or spec.method.type is not MethodType.QLORA,
            field="deepspeed.zeroStage",
        ),
    )
