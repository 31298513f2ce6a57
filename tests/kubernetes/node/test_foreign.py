"""Tests run on a cluster of others only when its name says that nobody will miss it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from node.foreign import NotDisposable, kubeconfig, refusal


@pytest.mark.parametrize("context", ["kind-kind", "k3d-test", "minikube", "disposable-finetune"])
def test_a_context_that_is_called_disposable_is_taken(context: str) -> None:
    assert refusal(context) is None


@pytest.mark.parametrize(
    "context", ["", "production", "my-kind-cluster", "minikube-shared", "Kind-x", "arn:aws:eks:kind-"]
)
def test_any_other_is_refused_in_a_sentence(context: str) -> None:
    assert refusal(context) == (
        f"FINETUNE_TEST_KUBECONFIG: its current context {context!r} does not look disposable; "
        "name it like one of kind-*, k3d-*, minikube, disposable-* if the tests may do there what they like"
    )


def test_without_the_variable_nodes_are_our_own() -> None:
    assert kubeconfig({}) is None
    assert kubeconfig({"FINETUNE_TEST_KUBECONFIG": ""}) is None


def test_the_current_context_decides_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "config"
    contexts = [{"name": name, "context": {}} for name in ("production", "kind-kind")]
    path.write_text(yaml.safe_dump({"current-context": "kind-kind", "contexts": contexts}))
    assert kubeconfig({"FINETUNE_TEST_KUBECONFIG": str(path)}) == path
    path.write_text(yaml.safe_dump({"current-context": "production", "contexts": contexts}))
    with pytest.raises(NotDisposable, match="'production' does not look disposable"):
        kubeconfig({"FINETUNE_TEST_KUBECONFIG": str(path)})


@pytest.mark.parametrize("text", ["", "[]", "contexts: []", "{"])
def test_a_file_without_a_current_context_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(NotDisposable):
        kubeconfig({"FINETUNE_TEST_KUBECONFIG": str(path)})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotDisposable, match=f"FINETUNE_TEST_KUBECONFIG: cannot read {tmp_path}/none: No such file"):
        kubeconfig({"FINETUNE_TEST_KUBECONFIG": f"{tmp_path}/none"})
