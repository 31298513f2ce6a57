"""`finetune estimate`: memory and time of a training, component by component, before anything runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from finetune_api.contract import ExitCode
from finetune_api.fit import fit, room, shortage
from finetune_api.flops import GPUS, Flops, Gpu, flops, recomputed
from finetune_api.host import host_memory, scratch
from finetune_api.job import FineTuneJob
from finetune_api.memory import Choice, Estimate, Training, least
from finetune_api.memory import estimate as memory_of
from finetune_api.result import Result
from finetune_api.shape import ModelShape
from finetune_api.spec import LARGEST_CHOSEN_BATCH, Precision, Spec
from finetune_api.strings import in_gib
from finetune_operator.cli.lines import print_lines
from finetune_operator.cli.local_job import pod_environ
from finetune_operator.cli.one_job import Refused, need_trainer, preparation, read_one
from finetune_operator.cli.outcome import what_failed
from finetune_operator.cli.stage_process import StageProcess

_COMMAND: Final = "shape"
_UTILISATION: Final = 0.4
"""Of a GPU's peak, which well-tuned training of such models reaches (reports of 35 to 50 %)."""
_MEANINGS: Final = {
    "weights": "of the base model",
    "adapter": "of LoRA, with the frozen copy that Preference compares with",
    "gradients": "accumulated in fp32",
    "optimizer": "masters and moments of AdamW in fp32",
    "buffers": "gradients on their way, weights that ZeRO 3 gathers",
    "activations": "what the backward pass needs of the forward pass",
    "logits": "of the tokens that the head projects at once",
    "working": "of one block at a time",
    "checkpoint": "that is on its way to the store",
    "overhead": "of the process itself, and lost between allocations",
}


def estimate(path: Path, *, environ: Mapping[str, str], python: str) -> int:
    """The exit status: of the trainer where it can not read the model, 64 for what does not fit, 1 when not started."""
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    try:
        manifest = read_one(path, environ, verb="estimate")
        need_trainer(python)
    except Refused as refused:
        for problem in refused.args:
            errors.print(problem, markup=False, soft_wrap=True)
        return 1
    job = FineTuneJob.observed(manifest)
    code, result = _ask(job, pod_environ(environ), python)
    if result is None or result.shape is None:
        unheard = [("Failed", f"the trainer ended with exit code {code} and left no word")]
        print_lines(console, what_failed(result.failure) if result and result.failure else unheard)
        return code or 1
    return _told(job.spec, result.shape, console)


def _ask(job: FineTuneJob, environ: Mapping[str, str], python: str) -> tuple[int, Result | None]:
    """The trainer, which reads wherever a model lies."""
    snapshot = preparation(job)
    with tempfile.TemporaryDirectory(prefix="finetune-estimate-") as folder:
        scratch = Path(folder)
        log = scratch / "trainer.log"
        with StageProcess(_COMMAND, snapshot, scratch=scratch, log=log, environ=environ, python=python) as process:
            code = process.wait(lambda _: None, lambda: None)
            return code, process.result()


def _told(spec: Spec, shape: ModelShape, console: Console) -> int:
    precision = spec.training.precision or (Precision.BFLOAT16 if spec.workers.gpus_per_node else Precision.FLOAT32)
    batch = spec.training.global_batch_size or LARGEST_CHOSEN_BATCH
    training = Training.of(spec, shape, precision)
    short = shortage(spec, shape, precision=precision, global_batch_size=batch)
    given = room(spec)
    available = given[1] if given else None
    choice = None
    if available is not None or not training.gpu:
        choice = fit(spec, shape, precision=precision, global_batch_size=batch, available=available)
    if choice is None:
        share = -(-batch // training.world_size)
        choice = least(training, memory=spec.memory, deepspeed=spec.deepspeed, share=share)
    found = memory_of(training, choice)
    console.print(f"Memory of each {_place(training)}, GiB")
    console.print(_memory_table(found))
    console.print(f"\nArithmetic of a step of {batch} full rows, and its seconds at {_UTILISATION:.0%} of a GPU's peak")
    console.print(_time_table(training, choice, batch, [gpu for gpu in GPUS if _holds(gpu, training, found)]))
    does_not_fit = str(short) if short else None
    print_lines(console, _verdict(spec, training, choice, found, available, does_not_fit))
    return ExitCode.BAD_CONFIG if short else ExitCode.DONE


def _memory_table(found: Estimate) -> Table:
    table = _table("GiB")
    for field in fields(found):
        if size := getattr(found, field.name):
            table.add_row(field.name, f"{size / (1 << 30):.2f}", _MEANINGS[field.name])
    table.add_row("total", f"{found.total / (1 << 30):.2f}", style="bold")
    return table


def _time_table(training: Training, choice: Choice, batch: int, gpus: Sequence[Gpu]) -> Table:
    """Of one optimizer step over full rows, each one document of which every token is learnt: the longest case.

    Linked sequences are two halves of one.
    """
    linked = 2 if training.has_reference else 1
    rows = [training.sequence_length // linked] * linked * batch
    model = flops(training, rows, labelled=sum(rows))
    again = recomputed(training, rows, choice.activation_checkpointing)
    rates = [gpu.peak * _UTILISATION * training.world_size for gpu in gpus]
    table = _table("PFLOP", *(gpu.name for gpu in gpus))
    for name, work in _parts(model, again):
        style = "bold" if name == "total" else None
        table.add_row(name, f"{work / 1e15:.2f}", *(f"{work / rate:.2f}" for rate in rates), style=style)
    if gpus:
        speeds = (sum(rows) * rate / (model.total + again) for rate in rates)
        table.add_row("tokens/s", "", *(f"{speed:,.0f}" for speed in speeds))
    return table


def _table(*columns: str) -> Table:
    """Of figures behind their names, and maybe a word on each."""
    table = Table(box=None, show_header=len(columns) > 1)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _holds(gpu: Gpu, training: Training, found: Estimate) -> bool:
    return training.gpu and gpu.memory >= found.total


def _parts(model: Flops, again: float) -> Iterator[tuple[str, float]]:
    for field in fields(model):
        if work := getattr(model, field.name):
            yield field.name, work
    if again:
        yield "recomputed", again
    yield "total", model.total + again


def _verdict(
    spec: Spec, training: Training, choice: Choice, found: Estimate, available: int | None, does_not_fit: str | None
) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line."""
    trained, every = training.trained_parameters, training.base_parameters
    yield "Trains", f"{trained:,} parameters, of a model of {every:,}"
    rows = f"{choice.micro_batch_size} row{'s' * (choice.micro_batch_size > 1)} of {training.sequence_length:,} tokens"
    divided = f"ZeRO {choice.zero_stage}, activation checkpointing {choice.activation_checkpointing}, {rows} at once"
    yield "Divided", divided
    if training.gpu:
        yield "Memory", f"{in_gib(host_memory(spec, training))} of each pod at least, beside its GPUs"
    yield "Scratch", f"{in_gib(scratch(spec, training))} of each pod at least"
    if does_not_fit is not None:
        yield "Verdict", f"Will not fit. {does_not_fit}"
    elif available is not None:
        yield "Verdict", f"Fits: {in_gib(found.total)} of the {in_gib(available)} of each {_place(training)}."
    else:
        field = "spec.workers.gpuMemory" if training.gpu else "spec.workers.resources.memory"
        yield "Verdict", f"Takes {in_gib(found.total)} of each {_place(training)}; say in {field} how much there is."


def _place(training: Training) -> str:
    return "GPU" if training.gpu else "pod"
