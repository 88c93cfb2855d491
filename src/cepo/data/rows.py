"""A problem as a training row: the columns that TRL's trainer and our rewards read."""

from __future__ import annotations

import io
from random import Random
from typing import Any

from PIL import Image

from cepo.answers import BOXED, Grading
from cepo.chain.problems import CHAIN, Chain
from cepo.chain.wording import question, solution
from cepo.figures import wording
from cepo.figures.drawing import picture, png
from cepo.figures.problems import FIGURES, Figure
from cepo.glossary import Problem

__all__ = ["chain_row", "figure_row", "problem_row", "user_prompt"]


def user_prompt(question: str, grading: Grading = BOXED) -> list[dict[str, Any]]:
    """The conversational prompt of one question; images are added by the trainer in front of the text.

    It ends with the sentence that asks for the format of `grading`: without it nothing tells a model
    what the grader will read.
    """
    return [{"role": "user", "content": f"{question}\n{grading.instruction}"}]


def problem_row(problem: Problem, grading: Grading = BOXED) -> dict[str, Any]:
    """One row: `prompt`, `images`, `answer`, `solution`, `family`, `id`. The solution boxes its answer."""
    image = Image.open(io.BytesIO(problem.image_png))
    image.load()
    return {
        "prompt": user_prompt(problem.question, grading),
        "images": [image.convert("RGB")],
        "answer": problem.answer,
        "solution": problem.solution,
        "family": problem.family,
        "id": problem.id,
    }


def chain_row(chain: Chain, fillers: int, number: int, grading: Grading = BOXED) -> dict[str, Any]:
    """One row of a chain: `prompt`, `answer`, `solution`, `family`, `id`, and `chain`, what the solver needs.

    `number` tells apart rows of the same chain; their solutions are worded differently.
    """
    name = f"{CHAIN}/{chain.key}#{number}"
    return {
        "prompt": user_prompt(question(chain), grading),
        "answer": str(chain.answer),
        "solution": solution(chain.values, fillers, Random(name)),
        "family": f"{CHAIN}{len(chain.operations)}",
        "chain": chain.key,
        "id": name,
    }


def figure_row(figure: Figure, number: int, grading: Grading = BOXED) -> dict[str, Any]:
    """One row of a figure problem: as a chain's, and `images` with the picture, as PNG bytes.

    `number` tells apart rows of the same figure; they are drawn and worded differently.
    """
    name = f"{FIGURES}/{figure.key}#{number}"
    rng = Random(name)
    return {
        "prompt": user_prompt(wording.question(figure), grading),
        "images": [{"bytes": png(picture(figure, rng)), "path": None}],
        "answer": str(figure.answer),
        "solution": wording.solution(figure, figure.work(), rng),
        "family": f"{FIGURES}{len(figure.steps)}",
        "chain": figure.key,
        "id": name,
    }
