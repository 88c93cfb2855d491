"""A problem as a training row: the columns that TRL's trainer and our rewards read."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from cepo.glossary import Problem

__all__ = ["INSTRUCTION", "problem_row", "user_prompt"]

INSTRUCTION = "Put the final answer in \\boxed{}."
"""Ends every question that we load: without it nothing tells a model what the grader will read."""


def user_prompt(question: str) -> list[dict[str, Any]]:
    """The conversational prompt of one question; images are added by the trainer in front of the text."""
    return [{"role": "user", "content": f"{question}\n{INSTRUCTION}"}]


def problem_row(problem: Problem) -> dict[str, Any]:
    """One row: `prompt`, `images`, `answer`, `solution`, `family`, `id`."""
    image = Image.open(io.BytesIO(problem.image_png))
    image.load()
    return {
        "prompt": user_prompt(problem.question),
        "images": [image.convert("RGB")],
        "answer": problem.answer,
        "solution": problem.solution,
        "family": problem.family,
        "id": problem.id,
    }
