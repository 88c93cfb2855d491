"""Defaults and presets: what the papers say, and that a wrong value is named."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cepo.credit.references import ReferencePolicy
from cepo.credit.settings import CreditSettings
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.trainer.config import CEPOConfig

TOKENIZER: Any = load_processor(str(EMBEDDED)).tokenizer  # pyright: ignore[reportAttributeAccessIssue]


def resolve(preset: str, method: str, **explicit: Any) -> CreditSettings:
    return CreditSettings.resolve(preset, method, explicit)


def test_the_papers_cepo() -> None:
    paper = resolve("paper", "cepo")
    assert [paper.strength(step) for step in (1, 26, 40)] == [0.5, 0.0, 0.0]
    assert paper.strength(6) == pytest.approx(0.5 * (1 - 5 / 25))
    assert (paper.credit_clip, paper.reference_minus, paper.reference_fallback) == (0.5, "worst", "rlsd")
    assert (paper.teacher_weights, paper.prompt_style, paper.teacher_sees_images) == ("live", "user", True)


def test_the_papers_rlsd() -> None:
    paper = resolve("paper", "rlsd")
    assert paper.strength(26) == pytest.approx(0.25)
    assert paper.strength(51) == 0.0
    assert (paper.credit_clip, paper.teacher_weights, paper.teacher_sync_every) == (0.2, "synced", 10)


@pytest.mark.parametrize("method", ["cepo", "rlsd"])
def test_the_released_code_is_the_paper_with_its_faults(method: str) -> None:
    released = resolve("released-code", method)
    assert (released.credit_clip, released.prompt_style, released.teacher_sees_images) == (0.2, "prefill", False)
    if method == "cepo":
        assert released.reference_fallback == "grpo"


def test_what_is_given_stands_above_the_preset_and_none_does_not() -> None:
    settings = resolve("paper", "cepo", credit_clip=0.1, credit_strength=None)
    assert (settings.credit_clip, settings.credit_strength) == (0.1, 0.5)


def test_the_config_has_a_field_of_each_name_and_resolves_it(tmp_path: Path) -> None:
    known = {entry.name: entry.default for entry in fields(CEPOConfig)}
    assert {known[entry.name] for entry in fields(CreditSettings)} == {None}
    config = CEPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, preset="paper", credit_clip=0.1)
    assert config.credit == resolve("paper", "cepo", credit_clip=0.1)
    assert config.credit != resolve("paper", "cepo")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("max_steps", 0),
        ("max_steps", -5),
        ("learning_rate", float("nan")),
        ("per_device_train_batch_size", 0),
        ("num_iterations", 0),
        ("trace_groups", -1),
        ("trace_max_mb", 0),
        ("score_tokens_per_forward", 0),
        ("null_control_every", -1),
        ("reward_timeout", -1.0),
    ],
)
def test_numbers_that_would_fail_after_the_first_generation(field: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{field}={value} must be"):
        CEPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **{field: value})


def test_a_constant_schedule_never_decays() -> None:
    settings = resolve("default", "cepo", credit_schedule="constant", credit_strength=0.3)
    assert {settings.strength(step) for step in (1, 25, 1000)} == {0.3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("credit_strength", 1.5),
        ("credit_strength", -0.1),
        ("credit_schedule", "cosine"),
        ("credit_decay_steps", 0),
        ("credit_clip", 1.0),
        ("reference_minus", "best"),
        ("reference_form", "essay"),
        ("reference_fallback", "ppo"),
        ("reference_count", 0),
        ("prompt_style", "system"),
        ("teacher_weights", "older"),
        ("teacher_sync_every", 0),
        ("teacher_ema_rate", 0.0),
        ("feedback_max_chars", 0),
        ("reference_max_tokens", 7),
        ("reference_max_tokens", -1),
        ("credit_precision", "fp8"),
        ("evidence_dead_zone", "loud"),
        ("evidence_dead_zone", "-0.5"),
        ("evidence_dead_zone", "inf"),
        ("distill_beta", -0.5),
        ("distill_beta", 1.5),
        ("distill_top_k", -1),
        ("distill_ratio_clip", -0.5),
    ],
)
def test_a_wrong_value_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=str(value).replace(".", r"\.")):
        resolve("default", "cepo", **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("credit_strength", 1.0),
        ("credit_decay_steps", 1),
        ("credit_clip", 0.0),
        ("reference_count", 1),
        ("feedback_max_chars", 1),
        ("reference_max_tokens", 0),
        ("reference_max_tokens", 8),
        ("teacher_sync_every", 1),
        ("teacher_ema_rate", 1.0),
        ("distill_beta", 0.0),
        ("distill_beta", 1.0),
    ],
)
def test_the_ends_of_a_range_are_in_it(field: str, value: Any) -> None:
    assert getattr(resolve("default", "cepo", **{field: value}), field) == value


def test_the_dead_zone_in_its_three_words() -> None:
    off, auto, nats = (resolve("default", "cepo", evidence_dead_zone=said) for said in ("off", "auto", "0.25"))
    assert [settings.dead_zone(0.125) for settings in (off, auto, nats)] == [0.0, 0.125, 0.25]
    assert auto.dead_zone(None) == 0.0, "nothing was measured"
    assert auto.knobs(1, 0.125).dead_zone == 0.125
    assert resolve("default", "cepo", evidence_dead_zone="0").dead_zone(0.125) == 0.0


def test_every_setting_reaches_the_part_that_reads_it() -> None:
    said: dict[str, Any] = {
        "reference_minus": "marginal", "reference_form": "rationale", "reference_fallback": "grpo",
        "reference_allow_self": True, "reference_count": 3, "feedback_max_chars": 9, "teacher_weights": "synced",
        "teacher_sync_every": 7, "teacher_ema_rate": 0.5, "prompt_style": "prefill",
        "reference_template": "<{reference}>", "reference_max_tokens": 11,
    }  # fmt: skip
    settings = resolve("default", "cepo", **said)
    assert settings.reference_policy(5) == ReferencePolicy("marginal", "rationale", "grpo", True, 3, 9, 5)
    teacher = settings.teacher()
    assert (teacher.weights, teacher.sync_every, teacher.ema_rate) == ("synced", 7, 0.5)
    prompts = settings.teacher_prompts(TOKENIZER, str)
    assert (prompts.tokenizer, prompts.render, prompts.style) == (TOKENIZER, str, "prefill")
    assert prompts.template == "<{reference}>"
    assert prompts.most == 11


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ValueError, match="default, paper, released-code"):
        resolve("papers", "cepo")
