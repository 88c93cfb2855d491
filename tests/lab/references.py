"""What a warm start's prompt tells, read out of its text."""

from __future__ import annotations

from cepo.credit.prompts import ANSWER_TEMPLATE, RATIONALE_TEMPLATE

TEMPLATES: dict[str, str | None] = {"plain": None, "answer": ANSWER_TEMPLATE, "rationale": RATIONALE_TEMPLATE}
"""By kind of prompt."""


def reference_in(said: str, template: str | None) -> str | None:
    """The reference in a prompt's text; None: the prompt is plain, which is checked."""
    if template is None:
        assert "(" not in said
        return None
    before, after = template.split("{reference}")
    return said.partition(before)[2].partition(after)[0]
