import os
import signal
from typing import Any


def signalled(noted: bool) -> dict[str, Any]:
    """What a SIGTERM does to a rank."""
    from finetune_trainer.stopping import StopSignal

    stop, code = StopSignal(), None
    stop.install()
    try:
        if noted:
            stop.note()
        os.kill(os.getpid(), signal.SIGTERM)
    except SystemExit as end:
        code = end.code
    return {"asked": stop.asked, "code": code}


def test_from_the_first_step_on_a_signal_is_noted(preloaded):
    assert preloaded.run(signalled, noted=True) == [{"asked": True, "code": None}]


def test_before_that_it_ends_the_rank_at_once(preloaded):
    assert preloaded.run(signalled, noted=False) == [{"asked": True, "code": 143}]


def told(ranks: list[int]) -> str:
    """How a gang goes on of which these ranks were told to stop."""
    from finetune_trainer.failures import StageFailed
    from finetune_trainer.gang import form_gang
    from finetune_trainer.stopping import StopSignal, leave_if_stopping

    try:
        with form_gang(os.environ, gpu=False) as gang:
            stop = StopSignal()
            stop.asked = gang.rank in ranks
            leave_if_stopping(gang, stop, 7)
    except StageFailed as failed:
        return f"{failed.exit_code.value} {failed}"
    return "goes on"


def test_a_gang_leaves_together_when_all_of_it_was_told_to(preloaded):
    assert preloaded.run(told, world_size=2, ranks=[0, 1]) == ["143 told to stop; step 7 is saved"] * 2


def test_one_rank_that_is_told_to_stop_stays_with_the_others(preloaded):
    assert preloaded.run(told, world_size=2, ranks=[1]) == ["goes on"] * 2
