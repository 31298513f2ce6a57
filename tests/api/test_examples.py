from __future__ import annotations

from pathlib import Path

import pytest

from finetune_operator.cli.manifest import read_manifests

EXAMPLES = sorted((Path(__file__).parents[2] / "crds" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_valid_and_says_what_it_is_for(path: Path) -> None:
    read = read_manifests(path)
    assert read.problems == ()
    assert len(read.manifests) == 1
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_repeats_no_default_that_gitops_would_see_as_a_difference(path: Path) -> None:
    (manifest,) = read_manifests(path).manifests
    assert _empty_values(manifest.body["spec"], "spec") == []


def _empty_values(value: object, path: str) -> list[str]:
    if isinstance(value, dict):
        found = [path] if not value else []
        return found + [where for key, below in value.items() for where in _empty_values(below, f"{path}.{key}")]
    return [path] if value == [] else []


def test_there_is_an_example_of_each_task_and_of_each_place_to_store() -> None:
    jobs = [read_manifests(path).manifests[0].job for path in EXAMPLES]
    assert {job.spec.task.type.value for job in jobs} == {"Instruction", "Completion", "Classification", "Preference"}
    assert {job.spec.output.uri.split(":")[0] for job in jobs} == {"s3", "file"}
