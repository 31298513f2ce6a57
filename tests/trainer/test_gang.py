import os
import time
from pathlib import Path

import pytest


def talk():
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        said = gang.gather({"rank": gang.rank, "text": "ü" * 10 * gang.rank})
        told = gang.broadcast(["from", gang.rank])
        total = gang.sum([1.0, 0.1 * gang.rank])
        gang.barrier()
        return {"said": said, "told": told, "sum": total}


def lose_a_peer():
    from finetune_trainer.gang import form_gang, is_lost_peer

    try:
        with form_gang(os.environ, gpu=False) as gang:
            gang.barrier()
            if gang.rank == 1:
                os._exit(3)
            gang.barrier()
    except RuntimeError as error:
        own = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        Path(os.environ["WITNESS"]).write_text(f"{is_lost_peer(error)} {is_lost_peer(own)}")


def leave_late(folder: str):
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        gang.barrier()
        time.sleep(0.2 * gang.rank)
        Path(folder, str(gang.rank)).touch()
    return sorted(path.name for path in Path(folder).iterdir())


def listening_addresses():
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        gang.barrier()
        port = int(os.environ["MASTER_PORT"])
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        rows = [line.split()[1:4] for line in tables.splitlines() if line.strip()[0].isdigit()]
        return [local for local, _, state in rows if state == "0A" and int(local.rsplit(":", 1)[1], 16) == port]


def test_values_of_any_length_are_gathered_broadcast_and_summed(preloaded):
    answer = {
        "said": [{"rank": rank, "text": "ü" * 10 * rank} for rank in range(3)],
        "told": ["from", 0],
        "sum": [3.0, 0.30000000000000004],
    }
    assert preloaded.run(talk, world_size=3) == [answer] * 3


def test_a_dead_rank_is_told_apart_from_an_own_mistake(preloaded, tmp_path):
    with pytest.raises(AssertionError, match="rank 1"):
        # The dead rank's sockets are closed with it. Only a survivor that waited for a timeout would need so long.
        preloaded.run(lose_a_peer, world_size=2, environ={"WITNESS": str(tmp_path / "witness")}, timeout=30)
    assert (tmp_path / "witness").read_text() == "True False"


def test_nobody_leaves_before_all_are_done(preloaded, tmp_path):
    assert preloaded.run(leave_late, world_size=3, folder=str(tmp_path)) == [["0", "1", "2"]] * 3


def test_the_rendezvous_listens_on_its_own_address_only(preloaded):
    assert preloaded.run(listening_addresses)[0][0].startswith("0100007F:")
