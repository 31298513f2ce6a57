"""What both images promise beyond what jobs on them show: who they run as, what is in them, how large they are."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from cluster_client import eventually
from images.build import OPERATOR, TRAINER
from images.store import Store, run
from node.state import State
from real.access import Access

pytestmark = [pytest.mark.tier("node"), pytest.mark.usefixtures("own_images")]

LARGEST_OPERATOR_BYTES = 150_000_000
"""Compressed, as a registry holds it."""

# Of modules that came from a file: where they lie compiled, if anybody compiled them.
LOOK = """
import json, os, shutil, sys
import boto3, deepspeed, peft, pyarrow, torch, transformers
import finetune_trainer.train
cached = {name: module.__spec__.cached for name, module in sys.modules.items() if getattr(module, "__spec__", None)}
print(json.dumps({
    "compilers": [name for name in ("cc", "gcc", "g++", "clang", "nvcc", "ld") if shutil.which(name)],
    "not compiled": sorted(name for name, path in cached.items() if path and not os.path.exists(path)),
    "user": [os.getuid(), os.getgid()],
}))
"""


def pod(name: str, namespace: str, image: str, command: list[str] | None) -> dict[str, Any]:
    """Admitted by `restricted`; which user it runs as, and what it runs when no command is given, is the image's."""
    container = {
        "name": "look",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        **({"command": command} if command else {}),
        "env": [{"name": "HOME", "value": "/tmp"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def ended(cluster: Access, namespace: str, image: str, command: list[str] | None = None) -> tuple[int, str]:
    """Exit code and log of a pod on that image."""
    cluster.apply(pod("look", namespace, image, command))

    def terminated() -> dict[str, Any] | None:
        found = cluster.client.request("GET", f"/api/v1/namespaces/{namespace}/pods/look")
        (container,) = found["status"].get("containerStatuses") or [{"state": {}}]
        state: dict[str, Any] = container["state"]
        return state.get("terminated")

    code = eventually(terminated, timeout_seconds=120)["exitCode"]
    return code, cluster.kubectl("logs", "look", f"--namespace={namespace}")


def test_the_operator_starts_by_itself_and_says_what_it_lacks(cluster: Access, namespace: str) -> None:
    code, log = ended(cluster, namespace, OPERATOR.name)

    assert code == 2
    assert "FINETUNE_OPERATOR_TRAINER_IMAGE is not set" in log


def test_the_trainer_starts_by_itself_and_says_how_to_call_it(cluster: Access, namespace: str) -> None:
    code, log = ended(cluster, namespace, TRAINER.name)

    assert code == 64
    assert "usage: python -m finetune_trainer prepare | data | train | result | shape" in log


def test_the_trainer_has_no_compiler_and_nothing_left_to_compile(cluster: Access, namespace: str) -> None:
    code, log = ended(cluster, namespace, TRAINER.name, ["python", "-c", LOOK])

    assert (code, json.loads(log.splitlines()[-1])) == (
        0,
        {"compilers": [], "not compiled": [], "user": [65532, 65532]},
    )


@pytest.fixture
def built(own_nodes: State | None) -> Store:
    if own_nodes is None:
        pytest.skip("looks at images that were built here, not at those of FINETUNE_TEST_KUBECONFIG")
    return Store.of(os.environ)


@pytest.mark.parametrize("name", ["finetune-operator", "finetune-trainer"])
def test_an_image_says_what_it_is(name: str, built: Store) -> None:
    config = json.loads(run("skopeo", "inspect", "--config", built.address(f"localhost/{name}:test")))["config"]

    labels = {key: value for key, value in config["Labels"].items() if key.startswith("org.opencontainers.image.")}
    assert labels == {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": version(name),
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    # A number: of a name the kubelet cannot tell that it is not root's.
    assert config["User"] == "65532:65532"


def test_the_operators_image_is_small(built: Store, tmp_path: Path) -> None:
    run("skopeo", "copy", "--quiet", built.address(OPERATOR.name), f"oci:{tmp_path}")

    (entry,) = json.loads((tmp_path / "index.json").read_text())["manifests"]
    manifest = json.loads((tmp_path / "blobs" / entry["digest"].replace(":", "/")).read_text())
    assert sum(layer["size"] for layer in manifest["layers"]) <= LARGEST_OPERATOR_BYTES
