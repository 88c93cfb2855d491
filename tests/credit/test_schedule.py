import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.credit.schedule import constant, linear_decay
from tests import naive


@given(st.integers(1, 80), st.floats(0.0, 1.0), st.integers(1, 60))
def test_twin(step, start, decay_steps):
    assert linear_decay(step, start, decay_steps) == pytest.approx(naive.linear_decay(step, start, decay_steps))


def test_the_papers_schedule():
    """0.5 at the first step, half of it half-way, exactly 0 from step 26 on."""
    assert linear_decay(1, 0.5, 25) == 0.5
    assert linear_decay(2, 0.5, 25) == pytest.approx(0.48)
    assert linear_decay(25, 0.5, 25) == pytest.approx(0.02)
    assert [linear_decay(step, 0.5, 25) for step in (26, 27, 1000)] == [0.0, 0.0, 0.0]


def test_constant():
    assert [constant(step, 0.5) for step in (1, 50)] == [0.5, 0.5]


@pytest.mark.parametrize("step", [0, -3])
def test_steps_count_from_one(step):
    for schedule in (lambda: constant(step, 0.5), lambda: linear_decay(step, 0.5, 25)):
        with pytest.raises(ValueError, match=f"step={step}"):
            schedule()


@pytest.mark.parametrize("start", [-0.1, 1.1, float("nan")])
def test_start_is_a_strength(start):
    for schedule in (lambda: constant(1, start), lambda: linear_decay(1, start, 25)):
        with pytest.raises(ValueError, match=str(start)):
            schedule()


def test_decay_needs_a_step():
    with pytest.raises(ValueError, match="decay_steps must be at least 1, got 0"):
        linear_decay(1, 0.5, 0)
