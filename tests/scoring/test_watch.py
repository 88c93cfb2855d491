"""Looking into a model: what counts as half precision, and where two forwards part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cepo.scoring.watch import first_difference, half_precision


class Does(nn.Module):
    """One thing with what it is given."""

    def __init__(self, what: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Any:
        return self.what(x)


class Other(Does):
    """The same by another name."""


class Scaled(nn.Embedding):
    """A table whose rows are multiplied, as Gemma's."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


@pytest.mark.parametrize(
    ("what", "dtype", "axes", "is_half"),
    [
        (lambda x: x.mul_(2), torch.bfloat16, 2, True),
        (lambda x: F.layer_norm(x, (4,)), torch.bfloat16, 2, True),
        (lambda x: x @ x.T, torch.float16, 2, True),
        (lambda x: x @ x.T, torch.float32, 2, False),
        (lambda x: x[:, :1].clone(), torch.bfloat16, 2, False),
        (lambda x: x.bfloat16(), torch.float32, 3, True),
        (lambda x: x.bfloat16(), torch.float32, 2, False),
        (lambda x: x.half(), torch.bfloat16, 3, False),
    ],
    ids=["in place", "of a tuple", "a product", "in fp32", "gathered", "states cast", "weights cast", "half to half"],
)
def test_what_rounds_to_half_precision(
    what: Callable[[Tensor], Tensor], dtype: torch.dtype, axes: int, is_half: bool
) -> None:
    model = nn.Sequential(Does(what))
    with half_precision(model) as found:
        model(torch.ones(*[4] * axes, dtype=dtype))
    assert found == ["Does"] * is_half


def test_tables_are_rounded_alike_everywhere_and_what_runs_outside_is_not_looked_at() -> None:
    table = Scaled(3, 4).bfloat16()
    with half_precision(table) as found:
        assert (table(torch.tensor([0, 2])) + table.weight[:2]).dtype == torch.bfloat16
    assert found == []


def parted(*models: nn.Module) -> str | None:
    """Where two runs of one model part."""
    model, x = nn.Sequential(*models), torch.ones(1, 4, 2)
    return first_difference(model, lambda: model(x), lambda: model(x))


def once_more() -> Callable[[Tensor], Tensor]:
    """Adds 0 when it is first called, and 1 the second time."""
    calls: list[None] = []

    def add(x: Tensor) -> Tensor:
        calls.append(None)
        return x + len(calls) - 1

    return add


def test_two_forwards_part_at_the_first_module_that_gives_something_else() -> None:
    same, changed = Does(lambda x: 2 * x), Other(once_more())
    assert parted(same, Does(lambda x: x + 1)) is None
    assert parted(same, changed, same) == "Other", "not at the one that runs again after it"


def test_states_may_come_with_others_in_a_tuple() -> None:
    changed = once_more()
    pair = Other(lambda x: (changed(x), x))
    assert parted(Does(lambda x: x), pair, Does(lambda both: both[0])) == "Other"
