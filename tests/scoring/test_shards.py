"""Parameters as ZeRO-3 leaves them between forwards: what lies here is a shard, and what was gathered is given up."""

from __future__ import annotations

from enum import Enum
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from cepo.scoring.shards import drop_gathered
from cepo.scoring.weights import Teacher


class Status(Enum):
    """DeepSpeed's names."""

    AVAILABLE = 1
    NOT_AVAILABLE = 2


def partition(_self: Any, parameters: list[Any]) -> None:
    for parameter in parameters:
        parameter.ds_status = Status.NOT_AVAILABLE


def sharded(shard: Tensor, status: Status = Status.NOT_AVAILABLE) -> Any:
    parameter: Any = nn.Parameter(torch.empty(0))
    parameter.ds_tensor, parameter.ds_status = shard, status
    parameter.partition = MethodType(partition, parameter)
    return parameter


def test_a_teachers_values_are_put_into_the_shard_that_is_gathered_from() -> None:
    model, shard = nn.Module(), torch.tensor([1.0, 2.0])
    model.register_parameter("weight", sharded(shard))
    teacher = Teacher("frozen")
    teacher.start(model)
    shard.add_(10.0)
    for _ in range(2):
        with teacher.in_place(model):
            assert shard.tolist() == [1.0, 2.0]
        assert shard.tolist() == [11.0, 12.0]


def test_trained_parameters_that_are_gathered_are_given_up() -> None:
    model = nn.Module()
    for name, status in (("gathered", Status.AVAILABLE), ("left", Status.NOT_AVAILABLE), ("base", Status.AVAILABLE)):
        model.register_parameter(name, sharded(torch.ones(2), status))
    model.register_parameter("whole", nn.Parameter(torch.ones(2)))
    other: Any = model.get_parameter("left")
    del other.partition  # it is not here: nothing of it can be given up
    model.get_parameter("base").requires_grad = False
    drop_gathered(model)
    names = {name: getattr(model.get_parameter(name), "ds_status", None) for name in ("gathered", "base")}
    assert names == {"gathered": Status.NOT_AVAILABLE, "base": Status.AVAILABLE}
    drop_gathered(model)
