"""The text warm start: its rows are teachers' prompts, and a few steps leave a folder that loads."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cepo.chain.problems import split_of
from cepo.chain.wording import words
from cepo.lab.noisy import vocabulary
from cepo.lab.warm_start_text import Rows, Settings, main
from cepo.models.embedded_text import build_text_tokenizer
from cepo.models.loading import load_model
from tests.lab.references import TEMPLATES, reference_in


def test_rows_are_the_teachers_own_prompts() -> None:
    tokenizer = build_text_tokenizer(vocabulary(words()))
    rows = Rows(Settings(chain_steps=4), tokenizer)
    for kind, template in TEMPLATES.items():
        for _ in range(5):
            prompt, completion = rows.row(kind)  # type: ignore[arg-type]
            assert tokenizer.unk_token_id not in prompt + completion
            text = tokenizer.decode(completion, skip_special_tokens=True)
            reference = reference_in(tokenizer.decode(prompt), template)
            if reference is None:
                continue
            if kind == "answer":
                assert text.endswith(f"\\boxed{{{reference}}}")
            else:
                assert reference.endswith("}")
                assert len(re.findall(r"\d", reference)) == 5


def test_rows_are_of_the_training_split() -> None:
    rows = Rows(Settings(chain_steps=2), build_text_tokenizer(vocabulary(words())))
    assert all(split_of(rows.chain().key) == "train" for _ in range(50))


def test_a_told_solution_is_mostly_followed() -> None:
    tokenizer = build_text_tokenizer(vocabulary(words()))
    rows = Rows(Settings(chain_steps=3), tokenizer)
    same = 0
    for _ in range(200):
        prompt, completion = rows.row("rationale")
        told = re.findall(r"\d", tokenizer.decode(prompt).partition("solution to this problem")[2])
        same += told == re.findall(r"\d", tokenizer.decode(completion))
    assert same > 120  # 0.9 ** 3 = 0.73, and more by chance


def test_a_few_steps_leave_a_model(tmp_path: Path) -> None:
    small = {"steps": 3, "batch": 4, "warm_up": 1, "evaluate_every": 2, "evaluate_problems": 4, "chain_steps": 2}
    main([*(f"--{name}={value}" for name, value in small.items()), "--out", str(tmp_path)])
    model, tokenizer = load_model(str(tmp_path), "float32", None, trust_remote_code=False)
    assert 1e5 < sum(parameter.numel() for parameter in model.parameters()) < 1.3e5
    assert tokenizer.chat_template
    log = json.loads((tmp_path / "warm_start_log.json").read_text())
    assert log[0]["settings"] | small == log[0]["settings"]
    assert [entry["step"] for entry in log if "step" in entry] == [2, 3]
    assert all(0.0 <= entry["pass_rate"] <= 1.0 for entry in log if "step" in entry)
