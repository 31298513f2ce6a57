"""Numbers that were measured: what JSON cannot write, a loss that is NaN say, is left out instead of told."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from pydantic import AfterValidator


def _if_finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Measured: TypeAlias = Annotated[float | None, AfterValidator(_if_finite)]
"""The API server refuses a whole status in which one number is NaN or infinite."""
