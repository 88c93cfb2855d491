import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from cepo.credit.advantages import group_advantages
from tests import naive

NAN = float("nan")
REWARD = st.one_of(st.sampled_from([0.0, 0.1, 1.0, 1.1]), st.floats(-5.0, 5.0), st.just(NAN))


@st.composite
def rewards(draw):
    size, groups = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    return size, draw(st.lists(REWARD, min_size=size * groups, max_size=size * groups))


@given(rewards(), st.sampled_from(["group", "batch", "none"]))
def test_twin(drawn, scale):
    size, reward = drawn
    got = group_advantages(torch.tensor(reward, dtype=torch.float64), size, scale)
    assert got.tolist() == pytest.approx(naive.group_advantages(reward, size, scale), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_agrees_with_trl(scale):
    """TRL's own nanstd under TRL's formula (grpo_trainer, sum_then_normalize), in float32."""
    from trl.trainer.utils import nanstd

    reward_PG = torch.tensor([[0.0, 1.0, 1.0, 0.5], [NAN, 0.2, 0.9, NAN], [NAN, NAN, 1.0, NAN], [NAN] * 4, [1.0] * 4])
    std = {"group": nanstd(reward_PG, dim=1)[:, None], "batch": nanstd(reward_PG), "none": None}[scale]
    want = reward_PG - torch.nanmean(reward_PG, dim=1, keepdim=True)
    want = want.nan_to_num(0.0) if std is None else (want / (std + 1e-4)).nan_to_num(0.0)
    torch.testing.assert_close(group_advantages(reward_PG.flatten(), 4, scale), want.flatten())


def test_unscorable_row_is_as_if_absent():
    with_nan = group_advantages(torch.tensor([1.0, NAN, 0.0, 0.0]), 4)
    assert with_nan[1] == 0.0
    torch.testing.assert_close(with_nan[[0, 2, 3]], group_advantages(torch.tensor([1.0, 0.0, 0.0]), 3))


@pytest.mark.parametrize("reward", [0.1, 1.1, 100.1, 1 / 3])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_give_exactly_zero(reward, scale):
    """Exactly: a caller skips the teachers of a group by `advantage == 0`."""
    others = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    advantage = group_advantages(torch.tensor([reward] * 7 + others), 7, scale)
    assert advantage[:7].tolist() == [0.0] * 7
    assert advantage[7:].all()


def test_no_rows():
    assert group_advantages(torch.empty(0), 4).shape == (0,)


@pytest.mark.parametrize(
    ("rows", "size", "message"),
    [(4, 1, "group_size=1 for 4 rows"), (4, 0, "group_size=0 for 4 rows"), (7, 4, "7 rows .* groups of 4")],
)
def test_bad_group_size(rows, size, message):
    with pytest.raises(ValueError, match=message):
        group_advantages(torch.zeros(rows), size)


def test_infinite_reward():
    with pytest.raises(ValueError, match=r"rows \[1, 3\]"):
        group_advantages(torch.tensor([0.0, math.inf, 1.0, -math.inf]), 2)


def test_unknown_scale():
    with pytest.raises((ValueError, TypeCheckError), match="std"):
        group_advantages(torch.zeros(4), 2, "std")  # pyright: ignore[reportArgumentType]
