"""The embedded figures model: small, it reads the picture, fails by confused relations, and listens."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from datasets import Dataset
from PIL import Image

from cepo.credit.prompts import TeacherPrompts
from cepo.data.datasets import DataSpec, load_data
from cepo.data.rows import figure_row, user_prompt
from cepo.evaluate import generate_answers
from cepo.evaluate.generate import encode_prompts
from cepo.figures.drawing import picture
from cepo.figures.policy import Confusions
from cepo.figures.problems import Figure, generate
from cepo.figures.wording import question, solution
from cepo.models.embedded import EMBEDDED_FIGURES, resolve
from cepo.models.loading import load_checkpoint
from cepo.scoring import Images, ScoreRow, score


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return load_checkpoint("tiny-figures", dtype="float32")


def test_it_is_small_and_safe(loaded: tuple[Any, Any]) -> None:
    assert resolve("tiny-figures") == str(EMBEDDED_FIGURES)
    assert sum(file.stat().st_size for file in EMBEDDED_FIGURES.iterdir()) <= 8 * 2**20
    assert not [file for file in EMBEDDED_FIGURES.iterdir() if file.suffix in (".bin", ".py")]
    assert (EMBEDDED_FIGURES / "warm_start_log.json").is_file()
    assert loaded[0].num_parameters() < 1e6


def test_every_number_is_one_token(loaded: tuple[Any, Any]) -> None:
    tokenizer = loaded[1].tokenizer
    for figure in generate("train", 10):
        text = solution(figure, figure.work(), Random(0))
        pieces = [tokenizer.decode([token]) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
        assert "".join(pieces) == text
        assert all(piece.isdecimal() for piece in pieces if piece[0].isdecimal())


def test_it_reads_the_picture_and_confuses_relations(loaded: tuple[Any, Any]) -> None:
    data = load_data(DataSpec("figures", split="held_out", limit=100))
    blank = [row | {"images": [Image.new("RGB", one.size, "white") for one in row["images"]]} for row in data]  # type: ignore[operator]
    options: Any = {"max_new_tokens": 180, "batch_size": 100, "progress": False, "autocast_bf16": False}
    found = generate_answers(*loaded, data, **options)
    right = sum(generation.correct for generation in found) / 100
    assert 0.18 <= right <= 0.42  # about 0.3, and two standard errors
    blind = generate_answers(*loaded, Dataset.from_list(blank[:60]), **options)
    assert sum(generation.correct for generation in blind) / 60 <= 0.15
    causes = Counter(
        Figure.parse(row["chain"]).first_error(generation.text)  # type: ignore[index]
        for generation, row in zip(found, data, strict=True)
        if not generation.correct
    )
    assert causes["confused"] / causes.total() >= 0.8


def test_a_told_solution_steers_it(loaded: tuple[Any, Any]) -> None:
    """A solution is likelier when told itself than when told another one's."""
    model, processor = loaded
    prompts = TeacherPrompts(
        processor.tokenizer, lambda m: processor.apply_chat_template(m, add_generation_prompt=True, tokenize=False)
    )
    policy, rng, rows = Confusions(), Random(1), []
    for figure in generate("validation", 60, seed=5):
        own = other = policy.work(figure, rng)
        for _ in range(20):
            other = policy.work(figure, rng) if other.values[-1] == own.values[-1] else other
        if other.values[-1] == own.values[-1]:
            continue  # it confuses nothing here
        row = figure_row(figure, 0) | {"images": [picture(figure, rng).convert("RGB")]}
        inputs = encode_prompts(processor, [row])
        images = Images(inputs["pixel_values"], inputs["image_grid_thw"])
        text = user_prompt(question(figure))[0]["content"]
        messages: Any = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
        completion = processor.tokenizer(solution(figure, own, rng) + processor.tokenizer.eos_token)["input_ids"]
        for work in (own, other):
            told = solution(figure, work, rng)
            ids = prompts.prompt_ids(messages, inputs["input_ids"][0].tolist(), told, "rationale")
            rows.append(ScoreRow(ids, completion, images))
    total_B = score(model, rows, width=180, image_token_id=processor.image_token_id).sum(dim=1)
    assert len(rows) >= 60
    assert (total_B[::2] > total_B[1::2]).float().mean().item() >= 0.8


def test_round_trip(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = loaded
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    row = figure_row(generate("validation", 1)[0], 0) | {"images": [picture(generate("train", 1)[0], Random(0))]}
    logits = []
    for net, prepare in ((model, processor), load_checkpoint(tmp_path, dtype="float32")):
        with torch.no_grad():
            logits.append(net(**encode_prompts(prepare, [row])).logits)
    assert torch.equal(logits[0], logits[1])
