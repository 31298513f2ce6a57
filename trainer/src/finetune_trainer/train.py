"""One rank of the gang, from a Snapshot to a published model."""

from __future__ import annotations

import faulthandler
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed

from finetune_api.contract import REASON_LOST_PEER, ExitCode, Stage
from finetune_api.memory import Training
from finetune_api.progress import Activity
from finetune_api.result import Prepared, Published, Result
from finetune_api.snapshot import Snapshot
from finetune_api.spec import MethodType, Spec
from finetune_trainer import materials, tokenizers
from finetune_trainer.adapters import Adapter
from finetune_trainer.checkpoint.checkpointer import Checkpointer
from finetune_trainer.checkpoint.commit import Run, open_run
from finetune_trainer.checkpoint.layout import run_uri
from finetune_trainer.divergence import refuse_divergence
from finetune_trainer.division import Division, divide, telling_what_fits
from finetune_trainer.engine import make_engine, room_of
from finetune_trainer.failures import StageFailed
from finetune_trainer.gang import Gang, form_gang, is_lost_peer
from finetune_trainer.hardware import check_hardware, gpu_name, most_memory
from finetune_trainer.history import History, Score
from finetune_trainer.last_words import last_words, may_do_better
from finetune_trainer.log_lines import ProgressLines
from finetune_trainer.loop import Course, Surroundings, history_of, state_of, train
from finetune_trainer.materials import Materials
from finetune_trainer.model import DTYPES, Computation, Head, load_model
from finetune_trainer.objectives import objective_for
from finetune_trainer.pod import Pod
from finetune_trainer.prepare.model.architecture import read_config, shape_of
from finetune_trainer.prepared import open_data
from finetune_trainer.progress import ProgressFile
from finetune_trainer.publication import read_published
from finetune_trainer.publish.model import publish
from finetune_trainer.publish.weights import Trained
from finetune_trainer.quantized import check_quantization
from finetune_trainer.ranks import rank_folder
from finetune_trainer.reporting import Reporter
from finetune_trainer.stopping import StopSignal, leave_if_stopping
from finetune_trainer.storage import Storage, open_storage
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.tracking import open_tracking
from finetune_trainer.utilisation import AtPeak


def main(environ: Mapping[str, str]) -> int:
    """Run this rank and leave its Result for the launcher. Returns the exit code."""
    pod = Pod.from_env(environ)
    folder = rank_folder(pod.scratch, int(environ["LOCAL_RANK"]))
    return carry_out(pod, ProgressFile(folder / "progress.json"), folder / "result.json", environ=environ)


def carry_out(pod: Pod, progress: ProgressFile, words: Path, *, environ: Mapping[str, str]) -> int:
    """As `main`; what the rank does is said to `progress`, its Result written to `words`."""
    snapshot = pod.read_snapshot()
    reporter = Reporter(
        progress,
        snapshot.attempt,
        clock=time.monotonic,
        now=lambda: datetime.now(UTC),  # noqa: TID251 the process's edge
        memory=most_memory,
    )
    stop = StopSignal()
    # The launcher asks a rank that hangs where it is.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        stop.install()
        published = run_rank(pod, snapshot, environ=environ, reporter=reporter, stop=stop)
        code, result = 0, Result(stage=Stage.TRAIN, attempt=snapshot.attempt, published=published)
    except SystemExit:
        stopped = StageFailed(ExitCode.STOPPED, "Stopped", "told to stop")
        code, result = last_words(stopped, stage=Stage.TRAIN, attempt=snapshot.attempt)
    except Exception as error:  # noqa: BLE001 the rank's end needs words, whatever it was
        code, result = last_words(_explained(error), stage=Stage.TRAIN, attempt=snapshot.attempt)
    result = result.model_copy(update={"checkpoint_step": reporter.progress.checkpoint_step})
    words.write_bytes(result.encode())
    return code


def run_rank(
    pod: Pod, snapshot: Snapshot, *, environ: Mapping[str, str], reporter: Reporter, stop: StopSignal
) -> Published:
    """Everything a rank does; returns once every rank has read the publication back. Collective."""
    spec, prepared = snapshot.spec, snapshot.prepared
    if prepared is None:
        raise StageFailed(ExitCode.BAD_CONFIG, "NotPrepared", "a train stage needs the Result of its prepare stage")
    check_hardware(spec.workers.gpus_per_node, prepared.resolved.precision)
    storage = open_storage(endpoint=spec.storage.endpoint, region=spec.storage.region)
    with ExitStack() as leaving:
        with reporter.alive():
            gang = leaving.enter_context(form_gang(environ, gpu=spec.workers.gpus_per_node > 0))
            if (published := _read_published(storage, spec, prepared, gang)) is not None:
                return published
            run, tracking = None, None
            if gang.rank == 0:
                run = leaving.enter_context(_own_run(storage, snapshot, prepared))
                reporter.tell(ProgressLines(time.monotonic))
                if (tracking := open_tracking(snapshot, prepared, str(pod.scratch))) is not None:
                    leaving.callback(tracking.close, within=2.0)
                    reporter.tell(tracking)
            if gang.local_rank == 0:
                _bring_materials(spec, prepared, storage, pod.scratch, reporter)
            gang.barrier()
        here = materials.places(pod.scratch)
        shape = shape_of(read_config(json.loads((here.model / "config.json").read_bytes())))
        division = divide(snapshot, shape, prepared.resolved, gang)
        leaving.enter_context(telling_what_fits(spec, shape, prepared.resolved, division))
        if spec.method.type is MethodType.QLORA:
            check_quantization(gang.device, division.zero_stage)
        data = open_data(here.data)
        objective = objective_for(spec, data, tokenizers.load(here.model))
        engine = _engine(spec, prepared, gang, division, here, objective.head)
        checkpointer = Checkpointer(
            engine, gang, storage, run, scratch=pod.scratch / "checkpoints", keep_last=spec.checkpoint.keep_last
        )
        with reporter.alive():
            loaded = checkpointer.load()
        done, state = loaded or (0, state_of(History(), Telemetry()))
        history = history_of(state, checkpointer.skipped)
        reporter.gang_started(Telemetry.parse(state["telemetry"]), step=done, world_size=gang.world_size)

        total_steps = prepared.resolved.total_steps
        reporter.say(
            Activity.EVALUATING,
            zero_stage=division.zero_stage,
            activation_checkpointing=division.activation_checkpointing,
            micro_batch_size=division.micro_batch_size,
            step=done,
            total_steps=total_steps,
            validation_loss=history.validation_loss,
            checkpoint_step=checkpointer.committed_step,
        )
        examination = objective.examination(
            engine.module, gang, micro_batch_size=division.micro_batch_size, beat=reporter.beat
        )
        if loaded is None:
            history = examination.measure_base(history, data.test)
            # What was measured is never measured again, and there is always something to go back to.
            checkpointer.save(0, state_of(history, reporter.telemetry))

        reporter.training_begins(step=done, total_steps=total_steps)
        course = _course(spec, prepared, division)
        max_rows = prepared.resolved.validation_rows or spec.evaluation.max_rows
        validate = partial(examination.score, data.validation, max_rows=max_rows)
        at_peak = AtPeak(Training.of(spec, shape, prepared.resolved.precision), data.train, gpu_name())
        surroundings = _surroundings(gang, checkpointer, validate, reporter, stop, at_peak)
        # From here on nobody leaves alone: the others would be lost without it.
        stop.note()
        history = train(engine, data.train, course, surroundings, done=done, history=history)
        with reporter.alive():
            checkpointer.finish()
        reporter.say(Activity.EVALUATING, checkpoint_step=checkpointer.committed_step)
        leave_if_stopping(gang, stop, history.last.step)

        history = examination.measure_trained(history, data.test)
        refuse_divergence(history.published_step, (), None if history.test is None else history.test.loss)
        leave_if_stopping(gang, stop, history.last.step)

        reporter.say(Activity.PUBLISHING)
        with reporter.alive():
            trained = Trained(
                model=engine.module,
                adapter=_adapter(spec, prepared, here),
                head=objective.head,
                dtype=DTYPES[prepared.resolved.precision],
                base_folder=here.model,
                base_model_uri=spec.model.uri,
            )
            publish(
                storage,
                run,
                trained,
                snapshot=snapshot,
                prepared=prepared,
                history=history,
                telemetry=reporter.telemetry,
                scratch=pod.scratch / "publish",
            )
            if tracking is not None:
                tracking.finish(history.published_step, history.metrics)
            gang.barrier()
            return _seen_by_all(storage, spec, prepared, gang)


def _bring_materials(spec: Spec, prepared: Prepared, storage: Storage, scratch: Path, reporter: Reporter) -> None:
    """All that is read from this node's disk."""
    materials.fetch(spec.model.uri, prepared, storage=storage, scratch=scratch, report=reporter.fetched)
    lora = spec.method.adapter
    if lora is not None and lora.initial_adapter_uri is not None and prepared.adapter_digest is not None:
        materials.fetch_adapter(lora.initial_adapter_uri, prepared.adapter_digest, storage=storage, scratch=scratch)


def _course(spec: Spec, prepared: Prepared, division: Division) -> Course:
    return Course(
        training=spec.training,
        resolved=prepared.resolved,
        division=division,
        validate_every=prepared.resolved.validate_every or spec.evaluation.every_steps,
        checkpoint_seconds=spec.checkpoint.interval_seconds,
    )


def _seen_by_all(storage: Storage, spec: Spec, prepared: Prepared, gang: Gang) -> Published:
    """What is published, once every rank has read it back: one that left before would make the gang's end a failure."""
    published = read_published(storage, spec, prepared.run)
    if not all(gang.gather(published is not None)) or published is None:
        raise StageFailed(ExitCode.RETRY, "NotPublished", f"{spec.output.uri} does not show what was published")
    return published


def _read_published(storage: Storage, spec: Spec, prepared: Prepared, gang: Gang) -> Published | None:
    own = read_published(storage, spec, prepared.run) if gang.rank == 0 else None
    told = gang.broadcast(own.to_json() if own else None)
    return Published.parse(told) if told else None


@contextmanager
def _own_run(storage: Storage, snapshot: Snapshot, prepared: Prepared) -> Iterator[Run]:
    """The run, kept until its owner is done with it: after a retriable fault it will be back."""
    run = open_run(
        storage,
        run_uri(snapshot.spec.output.uri, prepared.run),
        owner=snapshot.uid,
        clock=lambda: datetime.now(UTC),  # noqa: TID251 the process's edge
    )
    run.keep_alive()
    try:
        yield run
    except Exception as error:
        if not may_do_better(_explained(error)):
            run.close()
        raise
    except SystemExit:
        run.close()
        raise
    run.close()


def _engine(
    spec: Spec, prepared: Prepared, gang: Gang, division: Division, here: Materials, head: Head
) -> deepspeed.DeepSpeedEngine:
    """The base model with a fresh adapter, ready to be trained."""
    settings: Any = {
        "training": spec.training,
        "precision": prepared.resolved.precision,
        "division": division,
    }
    model = load_model(
        here.model,
        adapter=_adapter(spec, prepared, here),
        seed=spec.training.seed,
        precision=prepared.resolved.precision,
        computation=Computation(
            attention=spec.memory.attention,
            activation_checkpointing=division.activation_checkpointing,
            compiled=spec.memory.compile,
        ),
        device=gang.device,
        room=room_of(gang, **settings),
        head=head,
    )
    engine = make_engine(model, gang, **settings)
    engine.train()
    return engine


def _adapter(spec: Spec, prepared: Prepared, here: Materials) -> Adapter | None:
    lora = spec.method.adapter
    if lora is None:
        return None
    initial = None if prepared.adapter_digest is None else here.adapter
    return Adapter(
        lora=lora,
        target_modules=prepared.resolved.target_modules,
        quantized=spec.method.type is MethodType.QLORA,
        initial=initial,
    )


def _surroundings(
    gang: Gang,
    checkpointer: Checkpointer,
    validate: Callable[[], Score | None],
    reporter: Reporter,
    stop: StopSignal,
    at_peak: AtPeak,
) -> Surroundings:
    return Surroundings(
        gang=gang,
        checkpoints=checkpointer,
        clock=time.monotonic,
        stopping=lambda: stop.asked,
        validate=validate,
        beat=reporter.beat,
        waiting=reporter.alive,
        report=lambda batch, num_tokens, history, forward_seconds: reporter.step_ended(
            batch,
            history,
            num_tokens=num_tokens,
            forward_seconds=forward_seconds,
            seconds_at_peak=at_peak.seconds(batch),
            checkpoint_step=checkpointer.committed_step,
        ),
        telemetry=lambda: reporter.telemetry,
    )


def _explained(error: Exception) -> Exception:
    """Faults of the gang in the words of a FineTuneJob."""
    if is_lost_peer(error):
        return StageFailed(ExitCode.RETRY, REASON_LOST_PEER, "another rank of the gang is gone")
    return error
