"""Numbers that a stage tells of itself, kept within what JSON and the API server can hold."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field


def _if_finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Measured: TypeAlias = Annotated[float | None, AfterValidator(_if_finite)]
"""What JSON cannot write, a loss that is NaN say, is left out instead of told: it would cost the whole status."""


def _six_digits(value: float | None) -> float | None:
    return value if value is None else float(f"{value:.6g}")


Shown: TypeAlias = Annotated[Measured, AfterValidator(_six_digits)]
"""Measured, to six significant digits: what people watch go by, as a column of `kubectl get` too."""

Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""The largest is what every reader of JSON holds exactly; the API server refuses a status with more than 64 bits."""
