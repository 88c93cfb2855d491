"""The embedded text model: small, one token for each word, right as often as its bed wants, and it listens."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import Any

import pytest
import torch

from cepo.chain.policy import Misconceptions
from cepo.chain.problems import chains
from cepo.chain.wording import question, solution
from cepo.credit.prompts import ANSWER_TEMPLATE, RATIONALE_TEMPLATE, TeacherPrompts
from cepo.data.datasets import DataSpec, load_data
from cepo.data.rows import user_prompt
from cepo.evaluate import generate_answers
from cepo.models.embedded import EMBEDDED_TEXT, resolve
from cepo.models.loading import load_checkpoint
from cepo.scoring import ScoreRow, score


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return load_checkpoint("tiny-text", dtype="float32")


def test_it_is_small_and_safe(loaded: tuple[Any, Any]) -> None:
    assert resolve("tiny-text") == str(EMBEDDED_TEXT)
    assert sum(file.stat().st_size for file in EMBEDDED_TEXT.iterdir()) <= 2**20
    assert not [file for file in EMBEDDED_TEXT.iterdir() if file.suffix in (".bin", ".py")]
    assert (EMBEDDED_TEXT / "warm_start_log.json").is_file()
    assert 1e5 < loaded[0].num_parameters() < 1.3e5


def test_every_word_is_one_token(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    rng = Random(0)
    for chain in islice(chains("train", 0, 6), 20):
        for text in (question(chain), solution(chain.values, 3, rng)):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            pieces = [tokenizer.decode([token]) for token in ids]
            assert "".join(pieces) == text
            assert tokenizer.unk_token_id not in ids
            assert all(len(piece.split()) == 1 for piece in pieces)
        assert len(ids) == 6 * 4 + 3
    for template in (ANSWER_TEMPLATE, RATIONALE_TEMPLATE):
        for part in template.split("{reference}"):
            ids = tokenizer(part, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == part


def test_it_leaves_room_for_reinforcement_learning(loaded: tuple[Any, Any]) -> None:
    data = load_data(DataSpec("chain", split="held_out", limit=400))
    found = generate_answers(*loaded, data, max_new_tokens=32, batch_size=400, progress=False, autocast_bf16=False)
    assert 0.15 <= sum(generation.correct for generation in found) / 400 <= 0.35
    assert sum(generation.extracted is not None for generation in found) >= 390


@pytest.mark.parametrize("form", ["answer", "rationale"])
def test_a_reference_steers_it(loaded: tuple[Any, Any], form: Any) -> None:
    """A noisy solution is likelier when told itself (or its answer) than when told another one's."""
    model, tokenizer = loaded
    prompts = TeacherPrompts(
        tokenizer, lambda prompt: tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    )
    policy, rng, rows = Misconceptions(), Random(1), []
    for chain in islice(chains("validation", 5, 6), 60):
        own = other = policy.work(chain, rng)
        while other[-1] == own[-1]:
            other = policy.work(chain, rng)
        prompt = user_prompt(question(chain))
        ids = tokenizer(prompts.render(prompt), add_special_tokens=False)["input_ids"]
        completion = tokenizer(solution(own, 3, rng) + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        for values in (own, other):
            reference = str(values[-1]) if form == "answer" else solution(values, 3, rng)
            rows.append(ScoreRow(prompts.prompt_ids(prompt, ids, reference, form), completion, None))
    total_B = score(model, rows, width=32, image_token_id=None).sum(dim=1)
    assert (total_B[::2] > total_B[1::2]).float().mean().item() >= 0.9
    assert torch.isfinite(total_B).all()
