from __future__ import annotations

from finetune_api.mutability import Mutability, transition_rules

STARTED = "has(oldSelf.status) && has(oldSelf.status.startTime)"
SUSPENDED = (
    "(has(oldSelf.status.conditions) && "
    "oldSelf.status.conditions.exists(c, c.type == 'Suspended' && c.status == 'True'))"
)


def test_each_class_has_its_rule_on_the_root() -> None:
    classes = {
        "task": Mutability.IDENTITY,
        "workers": Mutability.OPERATIONAL,
        "suspend": Mutability.CONTROL,
        "cancel": Mutability.LATCH,
    }
    assert transition_rules(classes) == [
        {
            "rule": f"!({STARTED}) || self.spec.task == oldSelf.spec.task",
            "message": "is immutable once the job has started: make another FineTuneJob",
            "fieldPath": ".spec.task",
        },
        {
            "rule": f"!({STARTED}) || {SUSPENDED} || self.spec.workers == oldSelf.spec.workers",
            "message": "is immutable while the job runs: set spec.suspend and wait for the condition Suspended",
            "fieldPath": ".spec.workers",
        },
        {
            "rule": "!oldSelf.spec.cancel || self.spec.cancel",
            "message": "is immutable once it is true",
            "fieldPath": ".spec.cancel",
        },
    ]
