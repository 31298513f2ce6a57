"""State out of DeepSpeed, through storage and back, by real ranks. Equal means equal bits."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from fault_proxy import Fault, fault_proxy
from finetune_api.contract import ExitCode
from finetune_trainer.checkpoint.commit import read_head
from finetune_trainer.checkpoint.layout import MANIFEST, checkpoint_folder, manifest_key, shard_key
from finetune_trainer.failures import StageFailed
from finetune_trainer.storage import Storage, StoredObject, StoreUnavailable
from finetune_trainer.storage.files import FileStorage
from preloaded import Preloaded
from s3server import S3Server

STAGES = (1, 2, 3)
CASES = [
    f"{stage}-{precision}-{method}"
    for stage, (precision, method) in product(STAGES, (("Float32", "LoRA"), ("BFloat16", "Full")))
]
USUAL = "2-BFloat16-Full"
WORLDS = (1, 2, 3)
PARAMETERS = {"base.weight", "base.bias", "down.weight", "up.weight", "up.bias", "head.weight"}


def make(case: str, gang: Any, width: int = 13) -> Any:
    """An engine on a network whose sizes fit no number of ranks, two of them too large for ZeRO 3 to keep whole."""
    import torch

    from finetune_api.spec import Precision, Training
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine
    from finetune_trainer.weights import values_of

    stage, precision, method = case.split("-")

    class Adapted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = torch.nn.Linear(width, width).requires_grad_(requires_grad=method == "Full")
            self.down = torch.nn.Linear(width, 8000, bias=False)
            self.up = torch.nn.Linear(8000, width)
            self.head = torch.nn.Linear(width, 1, bias=False)
            drawn = {each: each.detach().clone() for each in self.parameters()}
            self.initial = {each: partial(values_of, values) for each, values in drawn.items()}

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            batch = batch.to(self.up.weight.dtype)
            hidden = torch.tanh(self.base(batch) + self.up(self.down(batch)))
            return self.head(hidden).float().square().mean()

    torch.manual_seed(1)
    return make_engine(
        Adapted(),
        gang,
        training=Training(learning_rate=1e-2, weight_decay=0.1),
        precision=Precision(precision),
        division=Division(zero_stage=int(stage), micro_batch_size=1, micro_steps=1),
    )


def step(engine: Any, number: int) -> None:
    import torch

    batch = torch.randn(4, 13, generator=torch.Generator().manual_seed(number))
    engine.backward(engine(batch), scale_wrt_gas=False)
    engine.step()


def checkpointer(engine: Any, gang: Any, storage: Storage, uri: str, scratch: str) -> Any:
    from finetune_trainer.checkpoint.checkpointer import Checkpointer
    from finetune_trainer.checkpoint.commit import open_run

    run = open_run(storage, uri, owner="uid", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)) if not gang.rank else None
    return Checkpointer(engine, gang, storage, run, scratch=Path(scratch), keep_last=2)


def state_of(engine: Any, gang: Any) -> dict[str, str]:
    """Masters, moments and weights of the whole gang as digests, whoever holds which part."""
    import deepspeed
    import torch
    import torch.distributed as dist

    from finetune_trainer.checkpoint.shards import KINDS, MASTER, HostCopy, optimizer_step_of, partition_of

    partition = partition_of(engine)
    tensors = HostCopy().take(partition) if partition.has_stepped else {MASTER: torch.cat(partition.groups).detach()}
    digests = {"step": str(optimizer_step_of(partition))}
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            digests[f"{name} weight"] = hashlib.sha256(
                parameter.detach().reshape(-1).view(torch.uint8).numpy().tobytes()
            ).hexdigest()
            size = parameter.numel()
        if parameter.requires_grad:
            for kind in KINDS:
                whole = torch.zeros(size)
                for piece in partition.pieces:
                    if piece.parameter == name and kind in tensors:
                        whole[piece.start : piece.start + piece.length] = tensors[kind][
                            piece.offset : piece.offset + piece.length
                        ]
                dist.all_reduce(whole, group=gang.group)
                digests[f"{name} {kind}"] = hashlib.sha256(whole.numpy().tobytes()).hexdigest()
    return digests


def told_by_deepspeed(engine: Any) -> dict[str, str]:
    """As `state_of`, but by DeepSpeed's own accessors, which gather parameter by parameter."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    from finetune_trainer.checkpoint.shards import MASTER, MOMENTS

    trained = [(name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad]
    told = {f"{name} {MASTER}": safe_get_full_fp32_param(parameter) for name, parameter in trained}
    # Of several groups, ZeRO 1 and 2 find the moments of the first only.
    if engine.zero_optimization_stage() == 3 or len(engine.optimizer.param_groups) == 1:
        for kind in MOMENTS:
            told |= {f"{name} {kind}": safe_get_full_optimizer_state(parameter, kind) for name, parameter in trained}
    return {name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest() for name, tensor in told.items()}


def trained_parameters(engine: Any, gang: Any) -> list[str]:
    from finetune_trainer.checkpoint.shards import partition_of

    held = gang.gather([piece.parameter for piece in partition_of(engine).pieces])
    return sorted({name for names in held for name in names})


def write(folder: str, cases: list[str]) -> dict[str, Any]:
    """A checkpoint before the first step, and one after three; then two steps more."""
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        seen = {}
        for case in cases:
            engine = make(case, gang)
            checkpoints = checkpointer(engine, gang, FileStorage(), f"file://{folder}/{case}", f"{folder}/scratch")
            assert checkpoints.load() is None
            checkpoints.save(0, {})
            for number in (1, 2, 3):
                step(engine, number)
            checkpoints.save(3, {"losses": [0.5, None]})
            saved = state_of(engine, gang)
            step(engine, 4)
            step(engine, 5)
            checkpoints.finish()
            seen[case] = {
                "saved": saved,
                "continued": state_of(engine, gang),
                "told": told_by_deepspeed(engine),
                "committed": checkpoints.committed_step,
                "trained": trained_parameters(engine, gang),
                "class": type(engine.optimizer).__name__,
            }
        return seen


def others(case: str, world_size: int) -> list[tuple[int, str]]:
    """Who else wrote what this case reads: every number of ranks, each in another stage."""
    stage, rest = int(case[0]), case[1:]
    return [(writer, f"{(stage + world_size + writer) % len(STAGES) + 1}{rest}") for writer in WORLDS]


class OverheardStorage(FileStorage):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.came: list[str] = []

    def download(self, uri: str, path: Path, **options: Any) -> StoredObject:
        self.came.append(uri)
        return super().download(uri, path, **options)


def resume(folder: str, cases: list[str]) -> dict[str, Any]:
    """Each case, as loaded, and two steps later where it was written by the same stage and number of ranks."""
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        seen: dict[str, Any] = {}
        for case in cases:
            engine = make(case, gang)
            own = (gang.world_size, case)
            # Its own first, into an engine that is as good as new; and again at last, into one that has gone on.
            for writer, written in (own, *others(case, gang.world_size), own):
                uri = f"file://{folder}/{writer}/{written}"
                storage = OverheardStorage()
                found = checkpointer(engine, gang, storage, uri, f"{folder}/scratch").load()
                came = [name for names in gang.gather(storage.came) for name in names]
                assert sorted(came) == sorted({*came}), "a shard came twice to one machine"
                told = {"writer": writer, "written": written, "found": found, "loaded": state_of(engine, gang)}
                if (writer, written) == own:
                    step(engine, 4)
                    step(engine, 5)
                    told["continued"] = state_of(engine, gang)
                seen.setdefault(case, []).append(told)
        return seen


def test_any_number_of_ranks_in_any_zero_stage_resumes_what_any_other_saved(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    written: dict[int, Any] = {}
    for world in WORLDS:
        (tmp_path / str(world)).mkdir()
        ranks = preloaded.run(write, world_size=world, folder=str(tmp_path / str(world)), cases=CASES)
        assert all(rank == ranks[0] for rank in ranks)
        written[world] = ranks[0]
        assert {case["committed"] for case in written[world].values()} == {3}
        # ZeRO 1 in bf16 with fp32 accumulation silently is a class of its own.
        assert {case["class"] for case in written[world].values()} == {
            "DeepSpeedZeroOptimizer",
            "BF16_Optimizer",
            "DeepSpeedZeroOptimizer_Stage3",
        }
        for case, of_case in written[world].items():
            assert of_case["told"].items() <= of_case["continued"].items(), case
            frozen = set() if case.endswith("Full") else {"base.weight", "base.bias"}
            assert set(of_case["trained"]) == PARAMETERS - frozen, case

    for world in WORLDS:
        ranks = preloaded.run(resume, world_size=world, folder=str(tmp_path), cases=CASES)
        assert all(rank == ranks[0] for rank in ranks)
        for case, loads in ranks[0].items():
            assert len(loads) == len(WORLDS) + 2
            for told in loads:
                before = written[told["writer"]][told["written"]]
                assert told["found"] == [3, {"losses": [0.5, None]}]
                assert told["loaded"] == before["saved"], f"{told['writer']}, {told['written']} -> {world}, {case}"
                if "continued" in told:
                    assert told["continued"] == before["continued"], f"{world} ranks, {case}"


def partition_of_another_deepspeed(case: str) -> str:
    """As if a release kept its masters elsewhere."""
    from finetune_trainer.checkpoint.shards import partition_of
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        engine = make(case, gang)
        if case.startswith("3"):
            engine.optimizer.fp16_groups[0].reverse()
        else:
            group = engine.optimizer.optimizer.param_groups[0]
            group["params"] = [group["params"][0].clone()]
        try:
            partition_of(engine)
        except RuntimeError as error:
            return str(error)
        return ""


@pytest.mark.parametrize("case", CASES[::3])
def test_a_deepspeed_that_keeps_its_state_otherwise_is_refused(preloaded: Preloaded, case: str) -> None:
    (said,) = preloaded.run(partition_of_another_deepspeed, case=case)

    assert "this release cannot be checkpointed" in said


class DyingStorage(FileStorage):
    """Its process is killed in the middle of uploading one shard."""

    def __init__(self, fatal: str) -> None:
        self._fatal = fatal

    def upload(self, path: Path, uri: str) -> StoredObject:
        if uri.endswith(self._fatal):
            self.write(uri, path.read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().upload(path, uri)


def save_twice_and_die(folder: str) -> None:
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        engine = make(USUAL, gang)
        checkpoints = checkpointer(
            engine, gang, DyingStorage(shard_key(2, 1, 1)), f"file://{folder}/run", f"{folder}/scratch"
        )
        for number in (1, 2):
            step(engine, number)
            checkpoints.save(number, {})
            checkpoints.finish()


def load_and_save(folder: str, *, at: int, width: int = 13) -> Any:
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        engine = make(USUAL, gang, width)
        checkpoints = checkpointer(engine, gang, FileStorage(), f"file://{folder}/run", f"{folder}/scratch")
        try:
            found = checkpoints.load()
        except StageFailed as failure:
            return [int(failure.exit_code), failure.failure.reason, failure.failure.message]
        for number in (at - 1, at):
            step(engine, number)
            checkpoints.save(number, {"at": number})
        checkpoints.finish()
        return found


def test_a_rank_killed_in_the_middle_of_an_upload_costs_that_checkpoint_only(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=r"rank [01] of save_twice_and_die failed"):
        preloaded.run(save_twice_and_die, world_size=2, folder=str(tmp_path))
    assert (tmp_path / "run" / shard_key(2, 1, 1)).stat().st_size == 100

    assert preloaded.run(load_and_save, world_size=2, folder=str(tmp_path), at=4) == [[1, {}]] * 2

    head = read_head(FileStorage(), f"file://{tmp_path}/run")
    assert head is not None
    assert [(entry.step, entry.epoch) for entry in head.checkpoints] == [(1, 1), (3, 2), (4, 2)]
    assert not (tmp_path / "run" / shard_key(2, 1, 1)).exists()


def damage_shard(folder: Path, at: int, epoch: int) -> None:
    _rewrite(folder / "run" / shard_key(at, epoch, 1), lambda content: content[:-1] + bytes([content[-1] ^ 1]))


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_damaged_checkpoints_are_passed_over_once_and_then_end_the_job(preloaded: Preloaded, tmp_path: Path) -> None:
    assert preloaded.run(load_and_save, world_size=2, folder=str(tmp_path), at=2) == [None] * 2

    damage_shard(tmp_path, at=2, epoch=1)
    assert preloaded.run(load_and_save, world_size=2, folder=str(tmp_path), at=4) == [[1, {"at": 1}]] * 2

    mismatch = preloaded.run(load_and_save, world_size=1, folder=str(tmp_path), at=6, width=14)
    assert mismatch[0][:2] == [65, "CheckpointMismatch"]

    damage_shard(tmp_path, at=4, epoch=2)
    (tmp_path / "run" / shard_key(3, 2, 0)).unlink()
    corrupt = preloaded.run(load_and_save, world_size=2, folder=str(tmp_path), at=6)
    assert [answer[:2] for answer in corrupt] == [[67, "CheckpointsCorrupt"]] * 2
    assert "steps 3 and 4" in corrupt[0][2]


def go_astray_and_back(folder: str, cases: list[str]) -> dict[str, Any]:
    """A start that is saved, three steps of which the second is the best; to the best, and back to before step 2."""
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        seen = {}
        for case in cases:
            engine = make(case, gang)
            checkpoints = checkpointer(engine, gang, FileStorage(), f"file://{folder}/{case}", f"{folder}/scratch")
            checkpoints.save(0, {"at": 0})
            states = [state_of(engine, gang)]
            for number in (1, 2, 3):
                step(engine, number)
                states.append(state_of(engine, gang))
                if number == 2:
                    checkpoints.save(2, {"at": 2}, best_step=2)
            checkpoints.restore(2)
            # The start is as base model and seed have it: only what was measured is kept of it.
            assert [path.name for path in Path(folder, case, checkpoint_folder(0, 1)).iterdir()] == [MANIFEST]
            equal = [state_of(engine, gang) == states[2]]
            found = checkpoints.roll_back(range(2, 4), "a spike")
            equal.append(state_of(engine, gang) == states[0])
            for number in (1, 2):
                step(engine, number)
            equal.append(state_of(engine, gang) == states[2])
            skipped = [[one.first, one.last, one.reason] for one in checkpoints.skipped]
            seen[case] = [equal, found, skipped, checkpoints.committed_step]
            with pytest.raises(StageFailed, match="step 2, the best, is damaged") as lost:
                checkpoints.restore(2)
            assert lost.value.exit_code == ExitCode.CHECKPOINTS_CORRUPT
        return seen


def test_a_gang_finds_its_best_again_and_its_start_and_goes_on_as_if_it_had_not_left(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    first, second = preloaded.run(go_astray_and_back, world_size=2, folder=str(tmp_path), cases=CASES)
    assert first == second == {case: [[True] * 3, [0, {"at": 0}], [[2, 3, "a spike"]], 0] for case in CASES}


def copy_beside_a_gpu(folder: str) -> list[Any]:
    """As much as no machine has."""
    from finetune_trainer.checkpoint.shards import HostCopy, Partition

    class OnGpu:
        is_cuda = True

        def numel(self) -> int:
            return 1 << 50

    groups: Any = (OnGpu(),)
    with pytest.raises(StageFailed) as refused:
        HostCopy().room(Partition(pieces=(), groups=groups, moments=()))
    return [refused.value.exit_code, refused.value.failure.field, str(refused.value)[:80]]


def test_memory_that_is_not_there_for_copies_is_not_taken_for_that_of_a_gpu(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    (said,) = preloaded.run(copy_beside_a_gpu, folder=str(tmp_path))
    assert said[:2] == [ExitCode.RETRY, "spec.workers.resources.memory"]
    assert said[2].startswith("a rank copies its checkpoints to 12582912.0 GiB of the pod's memory: ")


class UnavailableStorage(FileStorage):
    """Nothing goes up from this rank."""

    def upload(self, path: Path, uri: str) -> StoredObject:
        raise StoreUnavailable(f"{uri}: no usable answer in 600 s")


def save_while_one_rank_cannot(folder: str) -> list[Any]:
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        engine = make(CASES[0], gang)
        storage = UnavailableStorage() if gang.rank == 1 else FileStorage()
        checkpoints = checkpointer(engine, gang, storage, f"file://{folder}/run", f"{folder}/scratch")
        step(engine, 1)
        checkpoints.save(1, {})
        try:
            checkpoints.finish()
        except (StageFailed, StoreUnavailable) as error:
            return [type(error).__name__, str(error), checkpoints.committed_step, checkpoints.busy]
        return []


def test_a_shard_that_cannot_be_stored_stops_every_rank_and_commits_nothing(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    first, second = preloaded.run(save_while_one_rank_cannot, world_size=2, folder=str(tmp_path))

    lost = f"file://{tmp_path}/run/{shard_key(1, 1, 1)}: no usable answer in 600 s"
    assert first == ["StageFailed", f"step 1 was not saved: rank 1: {lost}", None, False]
    assert second == ["StoreUnavailable", lost, None, False]
    head = read_head(FileStorage(), f"file://{tmp_path}/run")
    assert head is not None
    assert head.checkpoints == ()


def save_and_load_in_s3(folder: str, uri: str, endpoint: str) -> Any:
    from finetune_trainer.gang import form_gang
    from finetune_trainer.storage import open_storage

    with form_gang(os.environ, gpu=False) as gang:
        storage = open_storage(endpoint=endpoint)
        engine = make(USUAL, gang)
        checkpoints = checkpointer(engine, gang, storage, uri, folder)
        for number in (1, 2, 3):
            step(engine, number)
            checkpoints.save(number, {"at": number})
        checkpoints.finish()
        saved = state_of(engine, gang)
        again = make(USUAL, gang)
        found = checkpointer(again, gang, storage, uri, folder).load()
        return [found, state_of(again, gang) == saved, [stored.uri for stored in storage.list(f"{uri}/")]]


@pytest.mark.tier("s3")
def test_checkpoints_survive_an_s3_that_fails_every_third_request(
    preloaded: Preloaded, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    dice = random.Random(0)
    uri = f"s3://{s3_bucket}/runs/r"
    with fault_proxy(s3_server.endpoint) as proxy:
        proxy.decide = lambda _method, _path: dice.choice(
            [Fault.BUSY, Fault.CUT_REQUEST, Fault.CUT_REPLY, Fault.CUT_BODY, *[None] * 8]
        )
        ranks = preloaded.run(
            save_and_load_in_s3,
            world_size=2,
            environ=s3_server.environment,
            folder=str(tmp_path),
            uri=uri,
            endpoint=proxy.endpoint,
        )

    expected = [f"{uri}/HEAD.json"]
    for number in (1, 2, 3):
        expected += [f"{uri}/{manifest_key(number, 1)}", *(f"{uri}/{shard_key(number, 1, rank)}" for rank in (0, 1))]
    assert ranks == [[[3, {"at": 3}], True, expected]] * 2
