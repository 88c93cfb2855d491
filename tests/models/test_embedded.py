"""The embedded model: small, reloadable, and it really looks at the picture and listens to a reference."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration

from cepo.credit.prompts import TeacherPrompts
from cepo.data.rows import problem_row, user_prompt
from cepo.evaluate import generate_answers
from cepo.geometry import generate
from cepo.geometry.problems import drafts, work_wrongly
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.scoring import Images, ScoreRow, score


@pytest.fixture(scope="module")
def model() -> Any:
    return Qwen3VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32)


@pytest.fixture(scope="module")
def processor() -> Any:
    return load_processor(str(EMBEDDED))


def pass_rate(model: Any, processor: Any, rows: list[dict[str, Any]]) -> float:
    generations = generate_answers(
        model, processor, Dataset.from_list(rows), max_new_tokens=64, autocast_bf16=False, progress=False
    )
    return sum(generation.correct for generation in generations) / len(generations)


def test_it_is_small_and_safe() -> None:
    weights = list(EMBEDDED.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in weights) <= 16 * 2**20
    assert not list(EMBEDDED.glob("*.bin"))
    assert not list(EMBEDDED.glob("*.py"))
    assert (EMBEDDED / "warm_start_log.json").is_file()


def test_it_reads_the_picture(model: Any, processor: Any) -> None:
    """With the image blanked accuracy falls to chance: what guessing a family's common answers gives."""
    rows = [problem_row(problem) for problem in generate("validation", 120)]
    blank = [row | {"images": [Image.new("RGB", image.size, "white") for image in row["images"]]} for row in rows]
    assert 0.25 <= pass_rate(model, processor, rows) <= 0.60
    assert pass_rate(model, processor, blank) <= 0.06


def test_round_trip(model: Any, processor: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    row = problem_row(generate("validation", 1)[0])
    logits = []
    for net, prepare in ((model, processor), (again, load_processor(str(tmp_path)))):
        inputs = prepare.apply_chat_template(
            [{"role": "user", "content": [{"type": "image", "image": row["images"][0]}]}],
            add_generation_prompt=True, tokenize=True, return_dict=True, processor_kwargs={"return_tensors": "pt"},
        )  # fmt: skip
        with torch.no_grad():
            logits.append(net(**inputs).logits)
    assert torch.equal(logits[0], logits[1])


def test_a_reference_steers_it(model: Any, processor: Any) -> None:
    """A solution that leads to a wrong answer is likelier once that answer stands in the prompt than under r+."""
    rng, rows, expected = Random(0), [], 0
    prompts = TeacherPrompts(
        processor.tokenizer, lambda m: processor.apply_chat_template(m, add_generation_prompt=True, tokenize=False)
    )
    stream = drafts("validation", seed=3)
    for _ in range(40):
        draft = next(stream)
        right, wrong = draft.work(), work_wrongly(draft, rng)
        image = draft.canvas.image().convert("RGB")
        text = user_prompt(draft.question)[0]["content"]
        messages = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]}]
        inputs = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True,
            processor_kwargs={"return_tensors": "pt"},
        )  # fmt: skip
        images = Images(inputs["pixel_values"], inputs["image_grid_thw"])
        completion = processor.tokenizer(wrong.text + processor.tokenizer.eos_token)["input_ids"]
        for reference in (wrong.answer, right.answer):
            ids = prompts.prompt_ids(messages, inputs["input_ids"][0].tolist(), str(reference))
            rows.append(ScoreRow(ids, completion, images))
    logp_BT = score(model, rows, width=64, image_token_id=processor.image_token_id)
    total_B = logp_BT.sum(dim=1)
    expected = (total_B[::2] > total_B[1::2]).float().mean().item()
    assert expected >= 0.8
