"""The figures warm start: its rows are teachers' prompts, and a few steps leave a folder that loads."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from cepo.answers import extract_answer
from cepo.figures.drawing import picture
from cepo.figures.policy import Confusions
from cepo.figures.problems import Figure, split_of
from cepo.figures.wording import words
from cepo.lab.figures_tower import pixels, targets_of
from cepo.lab.noisy import vocabulary
from cepo.lab.warm_start_figures import Rows, Settings, drills, main
from cepo.models.embedded_figures import build_figures_model, build_figures_processor
from cepo.models.loading import load_model
from tests.lab.references import TEMPLATES, reference_in


@pytest.fixture(scope="module")
def rows() -> Rows:
    processor = build_figures_processor(vocabulary(words()))
    return Rows(Settings(pool=50, batch=6), build_figures_model(processor, width=24, layers=1), processor)


def test_rows_are_the_teachers_own_prompts(rows: Rows) -> None:
    seen = rows.pool[3][0]
    for kind, template in TEMPLATES.items():
        prompt, completion = rows.row(kind, seen)  # type: ignore[arg-type]
        assert rows.tokenizer.unk_token_id not in prompt + completion
        assert prompt.count(rows.processor.image_token_id) == 9
        text = rows.tokenizer.decode(completion, skip_special_tokens=True)
        reference = reference_in(rows.tokenizer.decode(prompt), template)
        if reference is None:
            continue
        if kind == "answer":
            assert reference == extract_answer(text)
        else:
            assert len(re.findall("=", reference)) == len(re.findall("=", text))


def test_rows_are_of_the_training_split(rows: Rows) -> None:
    assert {split_of(seen.figure.key) for several in rows.pool.values() for seen in several} == {"train"}


def test_the_language_model_learns_on_what_the_whole_model_sees(rows: Rows) -> None:
    """Logits from cached image tokens are those of the model that is given the picture."""
    model, processor = rows.model, rows.processor
    seen = rows.pool[2][0]
    ids = torch.tensor([seen.ids])
    pictures = pixels([seen.figure], Random(0))
    whole = {"input_ids": ids, "mm_token_type_ids": (ids == processor.image_token_id).long(), **pictures}
    with torch.no_grad():
        features = model.model.visual(pictures["pixel_values"], grid_thw=pictures["image_grid_thw"]).pooler_output
        again = type(seen)(seen.figure, features, seen.prompt, seen.ids)
        cached = model(**rows.inputs(ids, torch.ones_like(ids), [again])).logits
        assert torch.allclose(cached, model(**whole).logits, atol=1e-5)


def test_pixels_are_those_of_the_image_processor(rows: Rows) -> None:
    chosen = [Figure.parse("120>line>part:30"), Figure.parse("40>whole:10>turn>part:50>line>circle>corner")]
    rng = Random(3)
    drawn = [picture(figure, rng).convert("RGB") for figure in chosen]
    made, whole = pixels(chosen, Random(3)), rows.processor.image_processor(images=drawn, return_tensors="pt")
    assert torch.equal(made["pixel_values"], whole["pixel_values"])
    assert torch.equal(made["image_grid_thw"], whole["image_grid_thw"])


def test_short_problems_come_first(rows: Rows) -> None:
    lengths = [rows.batch("plain", done)[1].shape[1] for done in [0.0] * 4 + [0.6] * 12]
    assert max(lengths[:4]) < 130 < max(lengths[4:])


def test_drills_are_right_and_hold_the_equations_of_solutions(rows: Rows) -> None:
    (line,) = drills(Random(0), 1, length=400)
    found = re.findall(r"(\d+)([-+*])(\d+)=(\d+)\. ", line)
    assert len(found) == 400
    assert all(int(result) == eval(f"{left}{sign}{right}") % 360 for left, sign, right, result in found)
    assert {left for left, sign, _, _ in found if sign == "*"} == {"1", "2"}
    assert rows.tokenizer.unk_token_id not in rows.tokenizer(line, add_special_tokens=False)["input_ids"]


def test_the_probe_names_what_is_drawn() -> None:
    characters, drawings = targets_of(Figure.parse("120>line>part:30"))
    assert [index for index, kind in enumerate(drawings) if kind] == [0, 1, 2]
    assert [index for index, char in enumerate(characters) if char] == [0, 13, 14, 15, 16, 32, 46, 47]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_told_solutions_may_take_each_panel_for_anything(rows: Rows, share: float) -> None:
    """With `any_share` also for what the policy never confuses; without it only where the policy does."""
    rows.settings = replace(rows.settings, any_share=share)
    sure = Figure.parse("120>line>part:30")
    rows.policy = Confusions(share=0.0)
    told = {rows._told(sure).values for _ in range(60)}
    right = sure.work().values
    assert told == {right} if not share else len(told) == 6  # three forms of a line, two of a part
    assert right in told


SMALL = {
    "probe_steps": 1, "drill_steps": 2, "probe_batch": 2, "pool": 50, "steps": 2, "batch": 4, "warm_up": 1,
    "evaluate_every": 2, "evaluate_problems": 2, "width": 24, "layers": 1,
}  # fmt: skip


def test_a_few_steps_leave_a_model_and_a_second_run_goes_on_from_it(tmp_path: Path) -> None:
    words = [f"--{name}={value}" for name, value in SMALL.items()]
    first, second = tmp_path / "first", tmp_path / "second"
    main([*words, "--out", str(first)])
    model, processor = load_model(str(first), "float32", None, trust_remote_code=False)
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert processor is not None
    log = json.loads((first / "warm_start_log.json").read_text())
    assert log[0]["settings"]["seed"] == 0
    assert set(log[1]["accuracy"]) == {"characters", "drawings"}
    assert 0 <= log[2]["accuracy"] <= 1
    assert [entry["step"] for entry in log if "step" in entry] == [2]
    assert log[-1]["phase"] == "blank images"
    main([*words, "--start", str(first), "--any_share", "1", "--out", str(second)])
    again = json.loads((second / "warm_start_log.json").read_text())
    assert again[: len(log)] == log
    assert again[len(log)]["settings"]["start"] == str(first)
    assert [entry["step"] for entry in again if "step" in entry] == [2, 2]
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert not [name for name in changed if ".visual." in name]
