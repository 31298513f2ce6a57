"""Dropout whose mask is a function of (seed, step, row, layer), never of the rank or micro batch of a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass
class RowsInFlight:
    """The rows that the current forward pass computes; set before it, read by every dropout layer during it."""

    seed: int
    step: int = 0
    rows: tuple[tuple[int, int], ...] = ()
    """(place in the batch, tokens) of each row."""


class RowDropout(nn.Module):
    """Inverted dropout on [1, tokens, features]. Keeps no state, so a recomputed forward pass draws the same mask."""

    def __init__(self, probability: float, layer: int, in_flight: RowsInFlight) -> None:
        super().__init__()
        self._probability = probability
        self._layer = layer
        self._in_flight = in_flight

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.training:
            return hidden
        masks = [self._mask(place, tokens, hidden) for place, tokens in self._in_flight.rows]
        return hidden * torch.cat(masks, dim=1) / (1 - self._probability)

    def _mask(self, place: int, tokens: int, like: Tensor) -> Tensor:
        key = [self._in_flight.seed, self._in_flight.step, place, self._layer]
        generator = torch.Generator(like.device)
        generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
        drawn = torch.rand((1, tokens, like.shape[-1]), generator=generator, device=like.device)
        return (drawn >= self._probability).to(like.dtype)
