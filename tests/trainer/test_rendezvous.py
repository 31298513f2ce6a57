import pytest

from finetune_trainer.failures import StageFailed
from finetune_trainer.rendezvous import wait_for_address


class World:
    """A clock that sleeping moves, and a DNS that knows rank 0 from some time on."""

    def __init__(self, known_from: float) -> None:
        self.now, self.pauses, self._known_from = 0.0, [], known_from

    def lookup(self, name: str) -> str:
        if self.now < self._known_from:
            raise OSError(-2, "Name or service not known")
        return f"10.0.0.7 for {name}"

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def wait(self, hosts: dict[str, str] | None = None) -> str:
        return wait_for_address("rank-0", hosts or {}, lookup=self.lookup, clock=lambda: self.now, sleep=self.sleep)


def test_the_map_of_hosts_is_asked_first():
    assert World(known_from=1e9).wait({"rank-0": "127.0.0.1"}) == "127.0.0.1"


def test_the_name_is_waited_for_with_growing_pauses():
    world = World(known_from=30)
    assert world.wait() == "10.0.0.7 for rank-0"
    assert world.pauses == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_name_that_never_appears_ends_the_attempt_within_ten_minutes():
    world = World(known_from=1e9)
    with pytest.raises(StageFailed, match="rank-0 has had no address for 600 s") as caught:
        world.wait()
    assert (caught.value.exit_code, caught.value.failure.reason) == (75, "NoRendezvous")
    assert world.now <= 600
