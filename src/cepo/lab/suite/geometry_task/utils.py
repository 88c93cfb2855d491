"""What lmms-eval asks of a task, for our geometry: the messages of training, the grader of training.

Runs inside lmms-eval's environment, where `cepo` is on the path as source: only its floors without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from cepo.answers import extract_answer, same_answer

if TYPE_CHECKING:
    from PIL.Image import Image


class Doc(TypedDict):
    """A row of our geometry."""

    prompt: list[dict[str, str]]
    images: list[Image]
    answer: str


def doc_to_visual(doc: Doc) -> list[Image]:
    """The diagrams of a problem, RGB."""
    return [image.convert("RGB") for image in doc["images"]]


def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: object = None) -> str:
    """The question, as it stands in the training prompt."""
    return doc["prompt"][-1]["content"]


def doc_to_messages(doc: Doc, lmms_eval_specific_kwargs: object = None) -> list[dict[str, object]]:
    """Images first, then the question, in one user message and without a system message: as in training."""
    images = [{"type": "image", "url": image} for image in doc_to_visual(doc)]
    return [{"role": "user", "content": [*images, {"type": "text", "text": doc_to_text(doc)}]}]


def process_results(doc: Doc, results: list[str]) -> dict[str, float]:
    """Share of the completions that `cepo.answers` finds right, in [0, 1]."""
    right = [same_answer(extract_answer(text), doc["answer"]) for text in results]
    return {"acc_score": sum(right) / len(right)}
