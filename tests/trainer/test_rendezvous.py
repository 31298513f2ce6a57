import socket
import threading

import pytest

from finetune_trainer.failures import StageFailed
from finetune_trainer.rendezvous import current_address, wait_for_address, wait_for_listener


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


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_pod_that_is_there_has_its_address_whether_rank_0_listens_yet_or_not():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert current_address("127.0.0.1", listener.getsockname()[1], is_own=False) == "127.0.0.1"
    assert current_address("127.0.0.1", closed_port(), is_own=False) == "127.0.0.1"


def test_rank_0_has_only_an_address_of_its_own_machine():
    assert current_address("127.0.0.1", 29500, is_own=True) == "127.0.0.1"
    with pytest.raises(OSError, match="Cannot assign requested address"):
        current_address("192.0.2.1", 29500, is_own=True)  # an address for documentation, nobody's


def test_rank_0_is_waited_for_until_it_listens():
    port, listening = closed_port(), []
    opening = threading.Timer(0.5, lambda: listening.append(socket.create_server(("127.0.0.1", port))))
    opening.start()
    wait_for_listener("127.0.0.1", port, seconds=60)
    opening.join()
    listening.pop().close()
    with pytest.raises(ConnectionRefusedError):
        wait_for_listener("127.0.0.1", port, seconds=0)
