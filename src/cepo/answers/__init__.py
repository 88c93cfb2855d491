"""The grader: what a completion answers, and whether that is right. Nothing else decides "correct"."""

from cepo.answers.algebra import GraderUnavailable
from cepo.answers.verdict import (
    MAX_ANSWER_CHARS,
    boxed_spans,
    extract_answer,
    grade,
    same_answer,
    why_not_gradable,
)

__all__ = [
    "MAX_ANSWER_CHARS",
    "GraderUnavailable",
    "boxed_spans",
    "extract_answer",
    "grade",
    "same_answer",
    "why_not_gradable",
]
