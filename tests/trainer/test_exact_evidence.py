"""From references to log-probs on the embedded model: `plan_scoring` and `score` against the plain forward."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pytest
import torch
from trl.data_utils import prepare_multimodal_messages

from cepo.credit.prompts import TeacherPrompts
from cepo.credit.rules import get_method
from cepo.credit.step import RowContext, plan_scoring, run_scoring
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.glossary import References
from cepo.scoring import Images
from cepo.trainer.generation import as_parts
from tests.scoring.test_exact import plain
from tests.trainer.conftest import embedded

WIDTH = 30


@pytest.fixture(scope="module")
def contexts(processor: Any) -> dict[int, RowContext]:
    """Two problems with their diagrams, three rollouts of each; the last rollout's r+ and r- are the same."""
    found = {}
    rng = Random(0)
    for group, problem in enumerate(generate("train", 2, seed=5)):
        row = problem_row(problem)
        messages = prepare_multimodal_messages(row["prompt"], images=row["images"])
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = processor(text=[text], images=[row["images"]], return_tensors="pt")
        ids, images = inputs["input_ids"][0].tolist(), Images(inputs["pixel_values"], inputs["image_grid_thw"])
        for place in range(3):
            completion = [rng.randrange(20, 90) for _ in range(rng.randrange(3, WIDTH))]
            references = References("65", ("7", "130", "24.5"), "gold", "group")
            found[3 * group + place] = RowContext(group, row["prompt"], ids, completion, images, references)
    found[5] = replace(found[5], references=References("65", ("65",), "gold", "group"))
    return found


@pytest.mark.parametrize("style", ["user", "prefill"])
def test_every_context_of_every_row(style: Any, processor: Any, contexts: dict[int, RowContext]) -> None:
    render = lambda p: processor.apply_chat_template(as_parts(p), add_generation_prompt=True, tokenize=False)
    prompts = TeacherPrompts(processor.tokenizer, render, style)
    token = processor.image_token_id
    requests = plan_scoring(contexts, get_method("cepo"), prompts, token, with_student=list(contexts))
    assert len(requests) == 5 * 5 + 3
    model = embedded()
    encoded: list[int] = []
    model.model.visual.register_forward_hook(lambda module, args, out: encoded.append(len(args[0])))
    scored = run_scoring(model, requests, width=WIDTH, image_token_id=token, temperature=0.9)
    per_problem = (contexts[0].images, contexts[3].images)
    assert sum(encoded) == sum(len(images.pixel_values) for images in per_problem if images is not None)
    expected = partial(plain, model, width=WIDTH, image_token=token, temperature=0.9)
    for request in requests:
        found = scored[request.row, request.teacher, request.k]
        torch.testing.assert_close(found, expected([request.sequence])[0], atol=1e-5, rtol=0)
    assert torch.equal(scored[5, "plus", 0], scored[5, "minus", 0])
    assert not torch.equal(scored[4, "plus", 0], scored[4, "minus", 0])
