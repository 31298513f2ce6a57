"""Tensors of safetensors files by name, read where and as far as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

Values = Callable[[int, int], Tensor]
"""Of a tensor's elements, counted row by row, `length` from `start` on: [length]."""

Room = Callable[[Tensor, Values], nn.Parameter]
"""Makes a parameter of a tensor's shape, type and requires_grad, of which this rank holds what is its."""


def values_of(whole: Tensor) -> Values:
    """All of it is at hand."""
    return lambda start, length: whole.reshape(-1)[start : start + length]


def whole_on(device: torch.device) -> Room:
    """Every rank holds every parameter."""

    def make(like: Tensor, values: Values) -> nn.Parameter:
        made = torch.empty(like.shape, dtype=like.dtype, device=device)
        made.view(-1).copy_(values(0, like.numel()))
        return nn.Parameter(made, requires_grad=like.requires_grad)

    return make


class Stored:
    """The tensors of some files. Their bytes are mapped, and read by nobody who does not ask for them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        files: list[Any] = [safe_open(path, framework="pt") for path in paths]
        self._holder = {name: file for file in files for name in file.keys()}  # noqa: SIM118 no mapping
        self.shapes: Mapping[str, torch.Size] = {
            name: torch.Size(file.get_slice(name).get_shape()) for name, file in self._holder.items()
        }

    def values(self, name: str) -> Values:
        """Of the tensor of this name."""

        def read(start: int, length: int) -> Tensor:
            rows = self._holder[name].get_slice(name)
            width = self.shapes[name][1:].numel()
            first, end = start // width, -(-(start + length) // width)
            own: Tensor = rows[first:end]
            return own.reshape(-1)[start - first * width :][:length]

        return read
