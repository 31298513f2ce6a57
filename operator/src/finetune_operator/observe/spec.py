"""What is wrong with a stored object that cannot be read."""

from __future__ import annotations

from pydantic import ValidationError

from finetune_api.result import Failure


def unreadable(error: ValidationError) -> Failure:
    """Names the first offending field, and how many more there are. The CRD's schema should have refused it."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first, more = problems[0], len(problems) - 1
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    others = f" (and {more} more)" if more else ""
    return Failure(reason="InvalidSpec", message=f"{field}: {first['msg']}{others}"[:1024], field=field[:256])
