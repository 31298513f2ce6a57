import json
import socket
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_trainer import exposition
from finetune_trainer.progress import ProgressFile, serving

TRAINING = Progress(stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, step=3, loss=1.5)


def test_a_word_is_heard_as_it_was_said_and_a_beat_is_noticed(tmp_path):
    file = ProgressFile(tmp_path / "ranks" / "0" / "progress.json")
    assert file.heard() is None
    file.say(TRAINING)
    said, first = file.heard()
    file.beat()
    again, second = file.heard()
    assert said == again == TRAINING
    assert first != second


def test_progress_is_answered_as_json():
    with (
        serving(lambda: TRAINING, port=0, loopback=True) as port,
        urlopen(f"http://127.0.0.1:{port}/progress") as answer,
    ):
        assert answer.headers["Content-Type"] == "application/json"
        assert json.load(answer) == TRAINING.to_json()


def test_metrics_are_answered_as_prometheus_reads_them():
    with (
        serving(lambda: TRAINING, port=0, loopback=True) as port,
        urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert answer.headers["Content-Type"] == exposition.CONTENT_TYPE
        assert answer.read() == exposition.written(TRAINING)


@pytest.mark.parametrize(
    ("path", "status"), [("/progress", 503), ("/metrics", 503), ("/", 404), ("/progress/../etc", 404)]
)
def test_before_the_first_word_and_elsewhere_there_is_nothing(path, status):
    with serving(lambda: None, port=0, loopback=True) as port:
        with pytest.raises(HTTPError) as caught:
            urlopen(f"http://127.0.0.1:{port}{path}")
        caught.value.close()
        assert caught.value.code == status


def test_on_one_machine_only_loopback_is_listened_on():
    with serving(lambda: TRAINING, port=0, loopback=True) as port, socket.create_server(("127.0.0.2", port)):
        pass  # free: the server is not on every interface


def test_the_port_is_free_again_afterwards():
    with serving(lambda: TRAINING, port=0, loopback=True) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
