from pathlib import Path

import pytest

from finetune_api.contract import Stage
from finetune_api.result import Failure, Result
from finetune_api.spec import Workers
from finetune_trainer.pod import Pod
from finetune_trainer.ranks import Ended, rank_environ, verdict


def make_pod(node_rank: int = 0, hosts: dict[str, str] | None = None) -> Pod:
    return Pod(
        name="pod",
        snapshot=Path("/etc/finetune/snapshot.json"),
        scratch=Path("/scratch"),
        result=Path("/dev/termination-log"),
        node_rank=node_rank,
        rendezvous_host="rank-0.gang",
        rendezvous_port=29500,
        progress_port=8080,
        cores=None,
        hosts=hosts or {},
    )


def said(reason: str, step: int | None = None) -> Result:
    return Result(
        stage=Stage.TRAIN, attempt=2, failure=Failure(reason=reason, message="a sentence"), checkpoint_step=step
    )


def test_a_rank_on_a_gpu_node_is_numbered_through_the_gang_and_gets_its_share_of_cores():
    environ = rank_environ(
        make_pod(node_rank=3), Workers(nodes=4, gpus_per_node=8), 5, address="10.0.0.7", num_cores=128
    )
    assert environ == {
        "RANK": "29",
        "LOCAL_RANK": "5",
        "WORLD_SIZE": "32",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "29500",
        "OMP_NUM_THREADS": "16",
        "DS_ACCELERATOR": "cuda",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "TORCHINDUCTOR_CACHE_DIR": "/scratch/compiled",
        "TRITON_CACHE_DIR": "/scratch/compiled/triton",
    }


def test_pods_that_share_one_machine_share_its_cores_and_talk_over_loopback():
    pod = make_pod(hosts={"rank-0.gang": "127.0.0.1"})
    environ = rank_environ(pod, Workers(nodes=2), 0, address="127.0.0.1", num_cores=2)
    assert (environ["OMP_NUM_THREADS"], environ["GLOO_SOCKET_IFNAME"]) == ("1", "lo")
    assert (environ["DS_ACCELERATOR"], environ["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")


def test_every_rank_has_at_least_one_thread():
    pod = make_pod(hosts={"rank-0.gang": "127.0.0.1"})
    assert rank_environ(pod, Workers(nodes=8), 0, address="127.0.0.1", num_cores=2)["OMP_NUM_THREADS"] == "1"


# In the order in which one explains the other.
ENDS = [
    Ended(0, 69, said("Diverged")),
    Ended(0, 75, said("MicroBatchTooLarge")),
    Ended(0, 1, said("Crashed")),
    Ended(0, 75, said("StoreUnavailable")),
    Ended(0, 75, said("LostPeer")),
    Ended(0, 143, said("Stopped")),
    Ended(0, 0, Result(stage=Stage.TRAIN, attempt=2)),
]


@pytest.mark.parametrize("worse", range(len(ENDS)))
def test_the_end_that_explains_the_others_is_the_pods(worse):
    for other in ENDS[worse:]:
        expected = (ENDS[worse].code, ENDS[worse].result)
        assert verdict([other, ENDS[worse]], attempt=2, checkpoint_step=None) == expected
        assert verdict([ENDS[worse], other], attempt=2, checkpoint_step=None) == expected


@pytest.mark.parametrize(
    ("code", "exit_code", "reason", "message"),
    [
        (-9, 137, "Crashed", "local rank 3 was ended by SIGKILL without a word"),
        (-15, 143, "Stopped", "local rank 3 was ended by SIGTERM without a word"),
        (7, 7, "Crashed", "local rank 3 exited with 7 without a word"),
        (0, 1, "Crashed", "local rank 3 exited with 0 without a word"),
    ],
)
def test_a_rank_that_died_silently_is_spoken_for(code, exit_code, reason, message):
    failure = Failure(reason=reason, message=message)
    result = Result(stage=Stage.TRAIN, attempt=2, failure=failure, checkpoint_step=40)
    assert verdict([Ended(3, code, None)], attempt=2, checkpoint_step=40) == (exit_code, result)


def test_a_rank_that_is_stopped_before_it_can_hear_a_signal_explains_no_other_end():
    lost = Ended(1, 75, said("LostPeer"))
    assert verdict([Ended(0, -15, None), lost], attempt=2, checkpoint_step=None) == (75, lost.result)


def test_what_a_rank_knows_of_checkpoints_wins_over_what_was_heard():
    assert verdict([Ended(0, 75, said("Fenced", 50))], attempt=2, checkpoint_step=40)[1].checkpoint_step == 50
