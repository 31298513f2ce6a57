"""What came of encoding the job's own test rows with the published tokenizer, and how it is told. Pure."""

from __future__ import annotations

from finetune_api.model import Model


class Rendering(Model):
    """What came of comparing the first rows of the test split."""

    by: str
    """What made the ids, in a sentence's words."""
    rows: int = 0
    """How many were compared."""
    marked: int = 0
    """Those of them that get other ids because a text of theirs holds the text of a control token."""
    differing: int = 0
    """The others that get other ids than were trained."""
    place: str = ""
    """`file:line` of the first of these."""
    reason: str = ""
    """In what it differs; where no row was compared, why none could be."""
    exact: str = ""
    """The published file with which mistral-common makes the trained ids, where there is one."""

    @property
    def sentence(self) -> str:
        """For people: what holds, or what to do."""
        advice = (
            f"encode with mistral-common and `{self.exact}`" if self.exact else "compare before you serve the model"
        )
        if not self.rows:
            if self.reason:
                return f"Warning: plain transformers does not load the published tokenizer ({self.reason}); {advice}."
            return f"No test row was there to compare the ids that {self.by} makes with those that were trained."
        rows = f"{self.rows:,} test row{'s' * (self.rows != 1)}"
        apart = (
            f" ({self.marked:,} apart, which hold the text of a control token: it becomes one)" if self.marked else ""
        )
        if not self.differing:
            return f"In plain transformers {self.by} makes the very ids that were trained of {rows}{apart}."
        return (
            f"Warning: in plain transformers {self.by} makes other ids than were trained of {self.differing:,} "
            f"of {rows}{apart}, the first of them {self.place} ({self.reason}); {advice}."
        )
