"""Guards of the layout: nothing shadows the standard library, and each image carries only what it runs."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "charts",
    "crds",
    "operator",
    "pyproject.toml",
    "tests",
    "trainer",
    "uv.lock",
}


def test_the_top_level_is_fixed() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    visible = {path.split("/")[0] for path in listed if not path.startswith(".")}
    assert visible == TOP_LEVEL


def test_no_package_shadows_the_standard_library() -> None:
    # operator/__init__.py or tests/operator/__init__.py breaks `import operator`, and with it Python itself.
    packages = [init.parent for folder in (ROOT, ROOT / "tests") for init in folder.glob("*/__init__.py")]
    assert [str(package) for package in packages if package.name in sys.stdlib_module_names] == []


def test_tests_are_no_packages() -> None:
    assert sorted((ROOT / "tests").rglob("__init__.py")) == []


def modules_loaded_by(statement: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh interpreter after `statement`."""
    report = f"{statement}; import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "finetune_trainer.checkpoint.commit",
        "finetune_trainer.launch",
        "finetune_trainer.prepare",
        "finetune_trainer.publication",
        "finetune_trainer.storage",
    ],
)
def test_a_pod_without_torch_work_never_loads_torch(module: str) -> None:
    assert modules_loaded_by(f"import {module}") & {"deepspeed", "peft", "torch", "transformers"} == set()


def test_the_contract_loads_pydantic_and_nothing_heavier() -> None:
    loaded = modules_loaded_by("import finetune_api.job, finetune_api.snapshot, finetune_api.result")
    assert loaded & {"aiohttp", "boto3", "kopf", "kubernetes", "numpy", "torch", "yaml"} == set()


def dependencies_of(package: str, lock: dict[str, Any]) -> set[str]:
    """Names that installing one member of the workspace brings, extras and markers aside."""
    packages = {entry["name"]: entry for entry in lock["package"]}
    found: set[str] = set()
    pending = [package]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [dependency["name"] for dependency in packages[name].get("dependencies", [])]
    return found


def test_the_operator_installs_neither_torch_nor_boto3_and_the_trainer_no_kubernetes() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    operator, trainer = dependencies_of("finetune-operator", lock), dependencies_of("finetune-trainer", lock)
    assert {"kopf", "kubernetes", "pydantic"} <= operator
    assert operator & {"boto3", "botocore", "numpy", "torch", "transformers"} == set()
    assert {"boto3", "deepspeed", "pydantic"} <= trainer
    assert trainer & {"kopf", "kubernetes"} == set()
