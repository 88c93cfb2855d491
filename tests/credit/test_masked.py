import pytest
import torch

from cepo.credit.masked import as_bool, masked_mean, masked_sum

MASK = torch.tensor([[True, True, False, True], [False, True, False, False], [False] * 4])
VALUES = torch.tensor([[1.0, 2.0, float("nan"), 6.0], [float("inf"), 5.0, float("nan"), -float("inf")], [7.0] * 4])


def test_masked_out_values_never_matter():
    assert masked_sum(VALUES, MASK).flatten().tolist() == [9.0, 5.0, 0.0]
    assert masked_mean(VALUES, MASK).flatten().tolist() == [3.0, 5.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.bfloat16, torch.float32])
def test_any_number_type_is_a_mask(dtype):
    assert torch.equal(as_bool(MASK.to(dtype)), MASK)
