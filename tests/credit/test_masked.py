import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cepo.credit.masked import as_bool, masked_mean, masked_std, masked_sum

MASK = torch.tensor([[True, True, False, True], [False, True, False, False], [False] * 4])
VALUES = torch.tensor([[1.0, 2.0, float("nan"), 6.0], [float("inf"), 5.0, float("nan"), -float("inf")], [7.0] * 4])


def test_masked_out_values_never_matter():
    assert masked_sum(VALUES, MASK).flatten().tolist() == [9.0, 5.0, 0.0]
    assert masked_mean(VALUES, MASK).flatten().tolist() == [3.0, 5.0, 0.0]
    assert masked_std(VALUES, MASK).flatten().tolist() == pytest.approx([7.0**0.5, 0.0, 0.0])


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.booleans()), min_size=1, max_size=8))
def test_std_is_the_sample_deviation(entries):
    values = torch.tensor([[value for value, _ in entries]], dtype=torch.float64)
    mask = torch.tensor([[kept for _, kept in entries]])
    kept = [value for value, keep in entries if keep]
    want = statistics.stdev(kept) if len(kept) > 1 else 0.0
    assert masked_std(values, mask).item() == pytest.approx(want, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.bfloat16, torch.float32])
def test_any_number_type_is_a_mask(dtype):
    assert torch.equal(as_bool(MASK.to(dtype)), MASK)
