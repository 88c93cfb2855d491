"""From references to log-probs on the embedded model: `plan_scoring` and `score` against the plain forward."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import pytest
import torch
from trl.data_utils import prepare_multimodal_messages

from cepo.credit.prompts import TeacherPrompts
from cepo.credit.references import References
from cepo.credit.rules import Rule, get_method
from cepo.credit.step import Asking, Row, logps_by_prompt, plan_scoring
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.glossary import Told
from cepo.scoring import Images, score
from cepo.trainer.prompt_host import as_parts
from tests.scoring.test_exact import plain
from tests.trainer.conftest import embedded

WIDTH = 30


@dataclass(frozen=True)
class Scene:
    """Two problems with their diagrams, three rollouts of each; the last rollout's r+ and r- are the same."""

    rows: list[Row]
    references: dict[int, References]


@pytest.fixture(scope="module")
def scene(processor: Any) -> Scene:
    rows = []
    rng = Random(0)
    for group, problem in enumerate(generate("train", 2, seed=5)):
        row = problem_row(problem)
        messages = prepare_multimodal_messages(row["prompt"], images=row["images"])
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = processor(text=[text], images=[row["images"]], return_tensors="pt")
        ids, images = inputs["input_ids"][0].tolist(), Images(inputs["pixel_values"], inputs["image_grid_thw"])
        for place in range(3):
            completion = [rng.randrange(20, 90) for _ in range(rng.randrange(3, WIDTH))]
            rows.append(Row(3 * group + place, group, row["prompt"], ids, completion, images, 1.0))
    told = {"plus": Told(("65",), "gold"), "minus": Told(("7", "130", "24.5"), "group")}
    references: dict[int, References] = dict.fromkeys(range(6), told)
    references[5] = {"plus": Told(("65",), "gold"), "minus": Told(("65",), "group")}
    return Scene(rows, references)


@pytest.mark.parametrize("style", ["user", "prefill"])
def test_every_prompt_of_every_row(style: Any, processor: Any, scene: Scene) -> None:
    render = lambda p: processor.apply_chat_template(as_parts(p), add_generation_prompt=True, tokenize=False)
    token, rule = processor.image_token_id, get_method("cepo")
    assert isinstance(rule, Rule)
    asking = Asking(TeacherPrompts(processor.tokenizer, render, style), token)
    requests = plan_scoring(scene.rows, scene.references, rule, asking, with_student=range(6))
    assert len(requests) == 5 * 5 + 3
    model = embedded()
    encoded: list[int] = []
    model.model.visual.register_forward_hook(lambda module, args, out: encoded.append(len(args[0])))
    sequences = [request.sequence for request in requests]
    found_NT = score(model, sequences, width=WIDTH, image_token_id=token, temperature=0.9)
    per_problem = (scene.rows[0].images, scene.rows[3].images)
    assert sum(encoded) == sum(len(images.pixel_values) for images in per_problem if images is not None)
    expected = partial(plain, model, width=WIDTH, image_token=token, temperature=0.9)
    for sequence, found_T in zip(sequences, found_NT, strict=True):
        torch.testing.assert_close(found_T, expected([sequence])[0], atol=1e-5, rtol=0)
    logps = logps_by_prompt(requests, found_NT, scene.references)
    assert all(set(own) == {"plus", "minus", "student"} for own in logps.values())
    assert torch.equal(logps[5]["plus"], logps[5]["minus"])
    assert not torch.equal(logps[4]["plus"], logps[4]["minus"])


def test_several_references_are_their_mean_of_probabilities(processor: Any, scene: Scene) -> None:
    """RLCSD's marginal, from the log-probs of each reference alone."""
    render = lambda p: processor.apply_chat_template(as_parts(p), add_generation_prompt=True, tokenize=False)
    token, rule = processor.image_token_id, get_method("cepo")
    assert isinstance(rule, Rule)
    asking = Asking(TeacherPrompts(processor.tokenizer, render), token)
    requests = plan_scoring(scene.rows[:1], scene.references, rule, asking)
    found_NT = score(embedded(), [r.sequence for r in requests], width=WIDTH, image_token_id=token)
    minus = logps_by_prompt(requests, found_NT, scene.references)[0]["minus"]
    alone = [logp_T.exp() for request, logp_T in zip(requests, found_NT, strict=True) if request.prompt == "minus"]
    assert len(alone) == 3
    torch.testing.assert_close(minus, torch.stack(alone).mean(dim=0).log(), atol=1e-5, rtol=0)


def test_a_blind_teacher_reads_the_prompt_without_its_image(processor: Any, scene: Scene) -> None:
    render = lambda p: processor.apply_chat_template(as_parts(p), add_generation_prompt=True, tokenize=False)
    token, rule = processor.image_token_id, get_method("cepo")
    assert isinstance(rule, Rule)
    prompts = TeacherPrompts(processor.tokenizer, render)
    seeing, blind = (
        plan_scoring(scene.rows, scene.references, rule, Asking(prompts, token, sees), with_student=range(6))
        for sees in (True, False)
    )
    for a, b in zip(seeing, blind, strict=True):
        assert (a.row, a.prompt, a.k) == (b.row, b.prompt, b.k)
        if a.prompt == "student":  # the student sees what it saw
            assert b.sequence.images is not None
            assert list(b.sequence.prompt_ids) == list(a.sequence.prompt_ids)
        else:
            assert b.sequence.images is None
            assert list(b.sequence.prompt_ids) == [id_ for id_ in a.sequence.prompt_ids if id_ != token]
