"""What a person sees of a job with kubectl alone, as crds/examples/follow.sh prints it."""

from __future__ import annotations

import re

import pytest

from cluster_process import Process
from real.story import Finished

pytestmark = pytest.mark.tier("node")


def test_kubectl_shows_a_job_from_its_first_second_to_its_last(uninterrupted: Finished, followed: Process) -> None:
    followed.wait_until(lambda: not followed.running)
    transcript = followed.log.read_text()
    sections = dict(re.findall(r"^\$ kubectl (\S+).*?\n(.*?)(?=\n\$ |\Z)", transcript, re.DOTALL | re.MULTILINE))
    print(transcript)

    assert followed.exit_code == 0, transcript
    assert sections["apply"] == "finetunejob.finetune.dev/answers created\n"
    assert _phases(transcript) == ["Preparing", "Starting", "Training", "Succeeded"]
    assert "condition met" in sections["wait"]
    output = uninterrupted.job.spec["output"]["uri"]
    assert output in sections["get"]
    assert f"Uri: {output}" in re.sub(" +", " ", sections["describe"])
    for moment in ("Prepared", "Succeeded"):
        assert re.search(rf"^ +Normal +{moment} ", sections["describe"], re.MULTILINE), transcript


def _phases(transcript: str) -> list[str]:
    """In the order in which the watch told them, each once."""
    lines = transcript.partition("--watch\n")[2].partition("\n$ ")[0].splitlines()[1:]
    phases = [line.split()[1] for line in lines if re.match(r"answers +[A-Z]", line)]
    return list(dict.fromkeys(phase for phase in phases if phase != "Pending"))
