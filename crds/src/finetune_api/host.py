"""What a training pod takes of its node beside its GPUs: memory, and room on the scratch volume. Lower bounds, pure."""

from __future__ import annotations

from typing import Final

from finetune_api.memory import PROCESS, Training, checkpoint_copy
from finetune_api.spec import Spec

LARGEST_FILE: Final = 5 * 10**9
"""Of a published model, whose weights are collected file by file; as transformers divides."""
_STORED: Final = 2
"""Bytes of a weight in the base model's files: all that Mistral publishes are bf16."""


def host_memory(spec: Spec, training: Training) -> int:
    """Bytes of a pod with GPUs: of each process itself and a checkpoint on its way, and of a file to be published."""
    ranks = spec.workers.gpus_per_node
    return ranks * (PROCESS + checkpoint_copy(training)) + min(LARGEST_FILE, _published(spec, training))


def scratch(spec: Spec, training: Training) -> int:
    """Bytes of a pod: the base model's files and, beside them, a checkpoint on its way or then what is published.

    Prepared data is small beside them. Files of this machine are read where they lie.
    """
    model = 0 if spec.model.uri.startswith("file://") else _STORED * training.shape.parameters
    ranks = max(1, spec.workers.gpus_per_node)
    return model + max(ranks * checkpoint_copy(training), _published(spec, training))


def _published(spec: Spec, training: Training) -> int:
    merged = training.base_parameters if spec.publishes_merged else 0
    return training.weight_bytes * (training.trained_parameters + merged)
