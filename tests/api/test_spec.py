from __future__ import annotations

import pytest
from pydantic import ValidationError

from finetune_api.job import FineTuneJob
from spec_cases import BAD, GOOD, Case


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.about)
def test_a_right_spec_is_read_and_written_back(case: Case) -> None:
    job = FineTuneJob.parse(case.body)
    assert FineTuneJob.parse(job.to_json()) == job


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.about)
def test_a_wrong_spec_is_refused_with_the_field_to_change(case: Case) -> None:
    with pytest.raises(ValidationError) as refused:
        FineTuneJob.parse(case.body)
    assert any(case.field in _dotted(error["loc"]) for error in refused.value.errors())


def test_cases_have_names_of_their_own() -> None:
    names = [case.about for case in (*BAD, *GOOD)]
    assert sorted({name for name in names if names.count(name) > 1}) == []
