"""What helm tells whoever installed the chart."""

from __future__ import annotations

import pytest

from helm import CHART, NAMESPACE, RELEASE, Helm

pytestmark = pytest.mark.tier("helm")


def notes(helm: Helm, *values: str) -> str:
    said = helm.run(
        "install",
        RELEASE,
        str(CHART),
        f"--namespace={NAMESPACE}",
        "--dry-run=client",
        "--hide-secret",
        *(f"--set={value}" for value in values),
    )
    return said.partition("NOTES:\n")[2]


def test_they_say_what_runs_where_and_what_to_do_next(helm: Helm) -> None:
    assert notes(helm, "kueue.enabled=true") == (
        "finetune-operator 0.1.0 runs in namespace finetune-system and works on the FineTuneJobs of every namespace.\n"
        "Data is prepared and models are trained with localhost/finetune-trainer:0.1.0.\n"
        "\n"
        "Next, with a FineTuneJob in job.yaml (kubectl explain finetunejob.spec):\n"
        "\n"
        "  kubectl apply --filename job.yaml\n"
        "  kubectl get finetunejobs --watch\n"
    )


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("watch.namespaces={ml,research}", "works on the FineTuneJobs of ml, research."),
        ("crds.enabled=false", "NOTE: this release brings no CRD."),
        ("crds.keep=false", "WARNING: crds.keep is false. `helm uninstall` deletes the CRD"),
        ("kueue.enabled=false", "NOTE: kueue.enabled is false."),
    ],
)
def test_they_warn_of_what_surprises(helm: Helm, value: str, sentence: str) -> None:
    assert sentence in notes(helm, value)
