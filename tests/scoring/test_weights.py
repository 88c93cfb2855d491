"""Whose weights score: exact copies, exact return, exact schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from cepo.errors import RunFolderError
from cepo.scoring.weights import STATE_FILE, Teacher, state_file


def model(value: float = 1.0) -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for parameter in net.parameters():
        parameter.data.fill_(value)
    return net


def fill(net: nn.Module, value: float) -> None:
    for parameter in net.parameters():
        parameter.data.fill_(value)


def value_inside(teacher: Teacher, net: nn.Module) -> float:
    with teacher.in_place(net):
        return net[0].weight[0, 0].item()  # pyright: ignore[reportIndexIssue]


def test_live_is_the_policy() -> None:
    for net, teacher in ((model(1.0), Teacher("live")), (model(1.0), Teacher())):
        teacher.start(net)
        fill(net, 2.0)
        assert value_inside(teacher, net) == 2.0


def test_frozen_stays_at_the_start_and_the_policy_comes_back() -> None:
    net, teacher = model(1.0), Teacher("frozen")
    teacher.start(net)
    fill(net, 2.0)
    teacher.before_step(net, 7)
    teacher.after_step(net)
    assert value_inside(teacher, net) == 1.0
    assert net[0].weight[0, 0].item() == 2.0  # pyright: ignore[reportIndexIssue]


def test_synced_copies_at_steps_1_and_1_plus_n() -> None:
    net, teacher = model(0.0), Teacher("synced", sync_every=3)
    teacher.start(net)
    seen = []
    for step in range(1, 9):
        fill(net, float(step))
        teacher.before_step(net, step)
        seen.append(value_inside(teacher, net))
    assert seen == [1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 7.0, 7.0]


def test_ema_is_its_formula() -> None:
    net, teacher = model(1.0), Teacher("ema", ema_rate=0.25)
    teacher.start(net)
    expected = 1.0
    for step in range(1, 5):
        fill(net, float(step * step))
        teacher.after_step(net)
        expected = 0.75 * expected + 0.25 * step * step
        assert value_inside(teacher, net) == pytest.approx(expected, rel=1e-6)


def test_the_policy_returns_bit_for_bit_after_an_error() -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 5)
    teacher = Teacher("ema")
    teacher.start(net)
    net.weight.data.normal_()
    before = net.weight.detach().clone()

    def fails_inside() -> None:
        with teacher.in_place(net):
            assert not torch.equal(net.weight, before)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fails_inside()
    assert torch.equal(net.weight, before)


def test_base_switches_the_adapter_off_inside_only() -> None:
    torch.manual_seed(0)
    net = get_peft_model(nn.Sequential(nn.Linear(3, 3)), LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))
    x = torch.randn(1, 3)
    teacher = Teacher("base")
    teacher.start(net)
    on = net(x)
    with teacher.in_place(net):
        off = net(x)
    assert not torch.allclose(on, off)
    assert torch.equal(net(x), on)


def test_base_needs_an_adapter() -> None:
    with pytest.raises(ValueError, match="LoRA"):
        Teacher("base").start(model())


def test_a_checkpoint_holds_the_copy(tmp_path: Path) -> None:
    net, teacher = model(1.0), Teacher("frozen")
    teacher.start(net)
    teacher.save(tmp_path)
    fill(net, 5.0)
    other = Teacher("frozen")
    other.load(tmp_path, net)
    other.start(net)
    assert value_inside(other, net) == 1.0


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path: Path) -> None:
    net, teacher = model(), Teacher("ema")
    teacher.start(net)
    teacher.save(tmp_path)
    next(net.parameters()).requires_grad = False
    with pytest.raises(ValueError, match=r"such as 0\.weight"):
        Teacher("ema").load(tmp_path, net)


def test_each_process_has_its_own_part_of_a_checkpoint(tmp_path: Path) -> None:
    net, teachers = model(), [Teacher("frozen"), Teacher("frozen")]
    for number, teacher in enumerate(teachers):
        fill(net, float(number))
        teacher.start(net)
        teacher.save(tmp_path, (number, 2))
    assert {file.name for file in tmp_path.iterdir()} == {state_file((0, 2)), state_file((1, 2))}
    assert state_file((1, 2)) == "cepo_teacher_1_of_2.safetensors"
    for number in (0, 1):
        again = Teacher("frozen")
        again.load(tmp_path, net, (number, 2))
        assert value_inside(again, net) == number
    with pytest.raises(RunFolderError, match="'frozen', or not by 4 processes that share the weights; resume"):
        Teacher("frozen").load(tmp_path, net, (0, 4))


@pytest.mark.parametrize("fields", [{"weights": "synced", "sync_every": 1}, {"weights": "ema", "ema_rate": 1.0}])
def test_a_teacher_may_follow_every_step(fields: dict[str, Any]) -> None:
    net, teacher = model(1.0), Teacher(**fields)
    teacher.start(net)
    for step in (1, 2):
        fill(net, 10.0 * step)
        teacher.before_step(net, step)
        teacher.after_step(net)
        assert value_inside(teacher, net) == 10.0 * step


@pytest.mark.parametrize("weights", ["live", "frozen", "synced", "ema"])
def test_scoring_leaves_the_policy_bit_for_bit(weights: Any) -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 5)
    teacher = Teacher(weights)
    teacher.start(net)
    net.weight.data.normal_()
    before = net.weight.detach().clone()
    for _ in range(3):
        with teacher.in_place(net):
            assert torch.equal(net.weight, before) == (weights == "live")
    assert torch.equal(net.weight, before)


def test_live_saves_nothing_and_a_missing_copy_is_named(tmp_path: Path) -> None:
    Teacher("live").save(tmp_path)
    assert not (tmp_path / STATE_FILE).exists()
    with pytest.raises(RunFolderError, match="teacher_weights='ema'; resume"):
        Teacher("ema").load(tmp_path, model())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weights": "old"}, "'old'"),
        ({"weights": "synced", "sync_every": 0}, "got 0"),
        ({"weights": "ema", "ema_rate": 0.0}, "0.0"),
        ({"weights": "ema", "ema_rate": 1.5}, "1.5"),
    ],
)
def test_bad_settings_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Teacher(**fields)


def test_a_teacher_that_was_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="start"):
        value_inside(Teacher("ema"), model())
