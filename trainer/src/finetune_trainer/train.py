"""One rank of the gang, from a Snapshot to a published model."""

from __future__ import annotations

import faulthandler
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from finetune_api.contract import REASON_LOST_PEER, ExitCode, Stage
from finetune_api.progress import Activity
from finetune_api.result import Published, Result
from finetune_api.snapshot import Snapshot
from finetune_trainer import materials
from finetune_trainer.checkpoint.checkpointer import Checkpointer
from finetune_trainer.checkpoint.commit import Run, open_run
from finetune_trainer.checkpoint.layout import run_uri
from finetune_trainer.divergence import refuse_broken, refuse_divergence
from finetune_trainer.failures import StageFailed
from finetune_trainer.gang import Gang, form_gang, is_lost_peer
from finetune_trainer.hardware import check_hardware, most_memory
from finetune_trainer.history import History
from finetune_trainer.last_words import last_words, may_do_better
from finetune_trainer.learner import Learner, learning
from finetune_trainer.log_lines import ProgressLines
from finetune_trainer.loop import Course, Surroundings, history_of, state_of, train
from finetune_trainer.objectives import Examination
from finetune_trainer.pod import Pod
from finetune_trainer.progress import ProgressFile
from finetune_trainer.publication import read_published
from finetune_trainer.publish.model import publish
from finetune_trainer.ranks import rank_folder
from finetune_trainer.reporting import Reporter
from finetune_trainer.stopping import StopSignal, leave_if_stopping
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.tracking import Tracking, open_tracking
from finetune_trainer.train_stage import TrainStage


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
    stage = TrainStage.of(snapshot, scratch=pod.scratch)
    workers = stage.spec.workers
    check_hardware(workers.gpus_per_node, stage.resolved.precision)
    with ExitStack() as leaving:
        with reporter.alive():
            gang = leaving.enter_context(form_gang(environ, gpu=workers.gpus_per_node > 0))
            if (published := _published_before(stage, gang)) is not None:
                return published
            run = leaving.enter_context(_own_run(stage)) if gang.rank == 0 else None
            tracking = leaving.enter_context(_telling(stage, reporter)) if gang.rank == 0 else None
            _bring_materials(stage, gang, reporter)
        learner = leaving.enter_context(learning(stage, gang))
        checkpointer = Checkpointer(
            learner.engine,
            gang,
            stage.storage,
            run,
            scratch=stage.scratch / "checkpoints",
            keep_last=stage.spec.checkpoint.keep_last,
        )
        examination = learner.examination(gang, beat=reporter.beat)

        done, history = _resume(learner, checkpointer, reporter, gang)
        if done is None:
            done, history = 0, examination.measure_base(history, learner.data.test)
            if history.base_test is not None:
                refuse_broken(history.base_test.loss)
            # What was measured is never measured again, and there is always something to go back to.
            checkpointer.save(done, state_of(history, reporter.telemetry))

        reporter.training_begins(step=done, total_steps=stage.resolved.total_steps)
        surroundings = _surroundings(learner, gang, checkpointer, examination, reporter, stop)
        # From here on nobody leaves alone: the others would be lost without it.
        stop.note()
        history = train(learner.engine, learner.data.train, _course(learner), surroundings, done=done, history=history)
        with reporter.alive():
            checkpointer.finish()
        reporter.say(Activity.EVALUATING, checkpoint_step=checkpointer.committed_step)
        leave_if_stopping(gang, stop, history.last.step)

        history = examination.measure_trained(history, learner.data.test)
        refuse_divergence(history.published_step, (), None if history.test is None else history.test.loss)
        leave_if_stopping(gang, stop, history.last.step)

        reporter.say(Activity.PUBLISHING)
        with reporter.alive():
            publish(stage, run, learner.trained, learner.data, history=history, telemetry=reporter.telemetry)
            if tracking is not None:
                tracking.finish(history.published_step, history.metrics)
            return _published_and_seen(stage, gang)


def _published_before(stage: TrainStage, gang: Gang) -> Published | None:
    """What an earlier start of this very run has published, as rank 0 finds it. Collective."""
    own = read_published(stage.storage, stage.spec, stage.prepared.run) if gang.rank == 0 else None
    told = gang.broadcast(own.to_json() if own else None)
    return Published.parse(told) if told else None


@contextmanager
def _own_run(stage: TrainStage) -> Iterator[Run]:
    """The run, kept until its owner is done with it: after a retriable fault it will be back."""
    run = open_run(
        stage.storage,
        run_uri(stage.spec.output.uri, stage.prepared.run),
        owner=stage.snapshot.uid,
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


@contextmanager
def _telling(stage: TrainStage, reporter: Reporter) -> Iterator[Tracking | None]:
    """Have the log and, where the spec names one, a tracker hear of all that is reported."""
    reporter.tell(ProgressLines(time.monotonic))
    tracking = open_tracking(stage.snapshot, stage.prepared, str(stage.scratch))
    if tracking is not None:
        reporter.tell(tracking)
    try:
        yield tracking
    finally:
        if tracking is not None:
            tracking.close(within=2.0)


def _bring_materials(stage: TrainStage, gang: Gang, reporter: Reporter) -> None:
    """All that is read from this node's disk: one rank a node brings it, and the others wait for it. Collective."""
    if gang.local_rank == 0:
        storage, scratch = stage.storage, stage.scratch
        materials.fetch(stage.spec, stage.prepared, storage=storage, scratch=scratch, report=reporter.fetched)
    gang.barrier()


def _resume(learner: Learner, checkpointer: Checkpointer, reporter: Reporter, gang: Gang) -> tuple[int | None, History]:
    """Steps that are done, and what is known of them; None at the first start, which has nothing to go on from.

    Collective. From here on rank 0 can tell what this attempt is like.
    """
    with reporter.alive():
        loaded = checkpointer.load()
    done, state = loaded or (None, state_of(History(), Telemetry()))
    history = history_of(state, checkpointer.skipped)
    reporter.gang_started(
        Telemetry.parse(state["telemetry"]),
        learner.division,
        step=done or 0,
        world_size=gang.world_size,
        micro_steps=learner.division.micro_steps,
    )
    reporter.say(
        Activity.EVALUATING,
        zero_stage=learner.division.zero_stage,
        activation_checkpointing=learner.division.activation_checkpointing,
        micro_batch_size=learner.division.micro_batch_size,
        step=done or 0,
        total_steps=learner.stage.resolved.total_steps,
        validation_loss=history.validation_loss,
        checkpoint_step=checkpointer.committed_step,
    )
    return done, history


def _course(learner: Learner) -> Course:
    spec, resolved = learner.stage.spec, learner.stage.resolved
    return Course(
        training=spec.training,
        resolved=resolved,
        division=learner.division,
        validate_every=resolved.validate_every or spec.evaluation.every_steps,
        checkpoint_seconds=spec.checkpoint.interval_seconds,
    )


def _surroundings(
    learner: Learner,
    gang: Gang,
    checkpointer: Checkpointer,
    examination: Examination,
    reporter: Reporter,
    stop: StopSignal,
) -> Surroundings:
    spec, resolved, at_peak = learner.stage.spec, learner.stage.resolved, learner.at_peak
    max_rows = resolved.validation_rows or spec.evaluation.max_rows
    return Surroundings(
        gang=gang,
        checkpoints=checkpointer,
        clock=time.monotonic,
        stopping=lambda: stop.asked,
        validate=lambda: examination.score(learner.data.validation, max_rows=max_rows),
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


def _published_and_seen(stage: TrainStage, gang: Gang) -> Published:
    """What is published, once every rank has read it back: one that left before would make the gang's end a failure."""
    gang.barrier()
    published = read_published(stage.storage, stage.spec, stage.prepared.run)
    if not all(gang.gather(published is not None)) or published is None:
        message = f"{stage.spec.output.uri} does not show what was published"
        raise StageFailed(ExitCode.RETRY, "NotPublished", message)
    return published


def _explained(error: Exception) -> Exception:
    """Faults of the gang in the words of a FineTuneJob."""
    if is_lost_peer(error):
        return StageFailed(ExitCode.RETRY, REASON_LOST_PEER, "another rank of the gang is gone")
    return error
