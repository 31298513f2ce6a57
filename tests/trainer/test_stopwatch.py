from itertools import accumulate


def read() -> float:
    import torch

    from finetune_trainer.stopwatch import Stopwatch

    times = accumulate((5.0, 1.0, 100.0, 2.0))
    stopwatch = Stopwatch(torch.device("cpu"), lambda: next(times))
    for _ in range(2):
        with stopwatch.running():
            pass
    return stopwatch.read()


def test_only_what_runs_within_counts_and_all_of_it(preloaded):
    assert preloaded.run(read) == [3.0]
