import os
import signal
from typing import Any


def signalled(noted: bool) -> dict[str, Any]:
    """What a SIGTERM does to a rank."""
    from contextlib import nullcontext

    from finetune_trainer.stopping import StopSignal

    stop, code = StopSignal(), None
    stop.install()
    try:
        with stop.noted() if noted else nullcontext():
            os.kill(os.getpid(), signal.SIGTERM)
    except SystemExit as end:
        code = end.code
    return {"asked": stop.asked, "code": code}


def test_while_the_gang_trains_a_signal_is_noted(preloaded):
    assert preloaded.run(signalled, noted=True) == [{"asked": True, "code": None}]


def test_otherwise_it_ends_the_rank_at_once(preloaded):
    assert preloaded.run(signalled, noted=False) == [{"asked": True, "code": 143}]
