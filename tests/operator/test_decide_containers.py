"""What a kubelet says of a container that it cannot start, and the field that would help."""

from __future__ import annotations

import pytest

from finetune_operator.decide.containers import unstarted
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.reasons import Reason
from jobs import make_job
from observed import TRAIN_1, waiting

SPEC = make_job(storage={"secretName": "s3"}).spec
KEYS = "; it must hold accessKeyId and secretAccessKey"
IMAGE, CONFIG, SECRET = "spec.workers.image", None, "spec.storage.secretName"
CASES = {
    "a name that is none": ("InvalidImageName", "couldn't parse image name", "", IMAGE),
    "a Secret that is not there": ("CreateContainerConfigError", 'secret "s3" not found', KEYS, SECRET),
    "a Secret without a key": (
        "CreateContainerConfigError",
        "couldn't find key accessKeyId in Secret ml/s3",
        KEYS,
        SECRET,
    ),
    "another Secret": ("CreateContainerConfigError", 'secret "s3-other" not found', "", CONFIG),
    "a command that is not there": ("RunContainerError", "exec: python: not found", "", CONFIG),
}


@pytest.mark.parametrize(("reason", "says", "hint", "field"), CASES.values(), ids=CASES)
def test_the_kubelets_words_come_with_the_field_to_change(reason: str, says: str, hint: str, field: str | None) -> None:
    expected = Reason.IMAGE_PULL if field == IMAGE else Reason.CONTAINER_CONFIG
    found = unstarted(waiting(0, waiting_reason=reason, waiting_message=says), SPEC)
    assert found == Obstacle(expected, f"Pod {TRAIN_1}-0: {says}{hint}", field)


UNPACK = 'failed to pull and unpack image "x/y:1": failed to resolve reference "x/y:1": '
PULLS = {
    "asked for": ("ErrImagePull", f"{UNPACK}x/y:1: not found", ": x/y:1: not found"),
    "waited for": (
        "ImagePullBackOff",
        f'Back-off pulling image "x/y:1": ErrImagePull: {UNPACK}x/y:1: not found',
        ": x/y:1: not found",
    ),
    "of another runtime": (
        "ErrImagePull",
        f"rpc error: code = Unknown desc = {UNPACK}pull access denied",
        ": pull access denied",
    ),
    "of an older kubelet": ("ImagePullBackOff", 'Back-off pulling image "x/y:1"', ""),
}


@pytest.mark.parametrize(("reason", "says", "cause"), PULLS.values(), ids=PULLS)
def test_an_image_that_cannot_be_pulled_is_told_with_the_cause_alone(reason: str, says: str, cause: str) -> None:
    found = unstarted(waiting(0, waiting_reason=reason, waiting_message=says), SPEC)
    assert found == Obstacle(Reason.IMAGE_PULL, f"Pod {TRAIN_1}-0: image x/y:1 cannot be pulled{cause}", IMAGE)


def test_without_words_there_is_the_reason() -> None:
    found = unstarted(waiting(0, waiting_reason="ErrImagePull"), SPEC)
    assert found == Obstacle(Reason.IMAGE_PULL, f"Pod {TRAIN_1}-0: ErrImagePull", IMAGE)


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", None])
def test_what_takes_its_time_is_no_obstacle(reason: str | None) -> None:
    assert unstarted(waiting(0, waiting_reason=reason), SPEC) is None
