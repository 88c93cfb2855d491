"""The grader: what a completion answers, and whether that is right. Nothing else decides "correct".

docs/grader.md states every rule, with examples both ways.
"""

from cepo.answers.extract import (
    ANSWER_INSTRUCTIONS,
    AnswerFormat,
    after_thinking,
    boxed_spans,
    extract_answer,
    follows_format,
)
from cepo.answers.grading import BOXED, Grading
from cepo.answers.pool import GraderUnavailable, grader_timeouts
from cepo.answers.verdict import (
    BATCH_BUDGET_S,
    MAX_ANSWER_CHARS,
    Grader,
    Verdict,
    grade,
    grade_many,
    judge,
    judge_many,
    same_answer,
    why_not_gradable,
)

__all__ = [
    "ANSWER_INSTRUCTIONS",
    "BATCH_BUDGET_S",
    "BOXED",
    "MAX_ANSWER_CHARS",
    "AnswerFormat",
    "Grader",
    "GraderUnavailable",
    "Grading",
    "Verdict",
    "after_thinking",
    "boxed_spans",
    "extract_answer",
    "follows_format",
    "grade",
    "grade_many",
    "grader_timeouts",
    "judge",
    "judge_many",
    "same_answer",
    "why_not_gradable",
]
