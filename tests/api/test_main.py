from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from finetune_api.__main__ import generated, main
from finetune_api.crd import custom_resource_definition

ROOT = Path(__file__).parents[2]
CRD = "crds/finetunejobs.finetune.dev.yaml"
CHART = "charts/finetune-operator/templates/crd.yaml"
REFERENCE = "crds/README.md"


def test_what_is_committed_is_what_the_models_say() -> None:
    assert main(["--check", f"--root={ROOT}"]) == 0


def test_the_crd_is_yaml_of_the_object() -> None:
    assert yaml.safe_load(generated()[CRD]) == custom_resource_definition()


def test_drift_names_the_file_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "crds").mkdir()
    assert main([f"--root={tmp_path}"]) == 0
    assert main(["--check", f"--root={tmp_path}"]) == 0
    (tmp_path / CRD).write_text("edited\n")
    (tmp_path / REFERENCE).unlink()
    capsys.readouterr()
    assert main(["--check", f"--root={tmp_path}"]) == 1
    assert capsys.readouterr().out == (
        f"{CRD}: differs from the models: run `python -m finetune_api`\n"
        f"{REFERENCE}: differs from the models: run `python -m finetune_api`\n"
    )
    assert (tmp_path / CRD).read_text() == "edited\n"


def test_it_is_run_in_the_root_of_the_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main([f"--root={tmp_path}"])
    assert refused.value.code == 2
    assert "is not the root of the repository" in capsys.readouterr().err


def test_the_chart_installs_the_crd_when_asked_and_keeps_it_when_asked() -> None:
    head, _, rest = generated()[CHART].partition("\nspec:\n")
    assert head.splitlines() == [
        "{{- if .Values.crds.enabled }}",
        "# Generated from crds/src/finetune_api by `python -m finetune_api`.",
        "apiVersion: apiextensions.k8s.io/v1",
        "kind: CustomResourceDefinition",
        "metadata:",
        "  name: finetunejobs.finetune.dev",
        "  {{- if .Values.crds.keep }}",
        "  annotations:",
        "    helm.sh/resource-policy: keep",
        "  {{- end }}",
    ]
    assert rest.endswith("{{- end }}\n")
    spec = yaml.safe_load(f"spec:\n{rest.removesuffix('{{- end }}' + chr(10))}")
    assert spec["spec"] == custom_resource_definition()["spec"]
