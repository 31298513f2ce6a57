"""`python -m finetune_api`, in the root of the repository: writes what is generated from the models, or checks it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune_api.crd import CRD_NAME, custom_resource_definition, mutability
from finetune_api.reference import field_reference
from finetune_api.schema import NotExpressible
from finetune_api.yaml_text import to_yaml

_HEADER = "# Generated from crds/src/finetune_api by `python -m finetune_api`.\n"


def generated() -> dict[str, str]:
    """Text of every generated file, by its path in the repository."""
    crd = custom_resource_definition()
    return {
        f"crds/{CRD_NAME}.yaml": _HEADER + to_yaml(crd),
        "charts/finetune-operator/templates/crd.yaml": _chart_template(to_yaml(crd)),
        "crds/README.md": field_reference(crd, mutability()),
    }


def _chart_template(crd: str) -> str:
    """The CRD for Helm: with `crds.keep` it outlives the release, and so do the jobs."""
    if "{{" in crd:
        raise NotExpressible("a description holds '{{', which Helm takes for a template")
    head, spec = crd.split("\nspec:\n", maxsplit=1)
    keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    return f"{{{{- if .Values.crds.enabled }}}}\n{_HEADER}{head}\n{keep}spec:\n{spec}{{{{- end }}}}\n"


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0, or 1 when --check finds a file that is not as it would be written."""
    parser = argparse.ArgumentParser(prog="python -m finetune_api", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the repository (default: here)")
    options = parser.parse_args(arguments)
    if not (options.root / "crds").is_dir():
        parser.error(f"{options.root.resolve()} is not the root of the repository: it has no crds/")
    stale = []
    for name, text in generated().items():
        path = options.root / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in stale:
        says = "differs from the models: run `python -m finetune_api`" if options.check else "written"
        sys.stdout.write(f"{name}: {says}\n")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
