"""A second device that is none: tensors that say they are elsewhere, computed on the CPU, and never mixed with it.

A GPU refuses an operation on tensors of two devices. So does this, without one: `Elsewhere` holds a CPU tensor and
says that it lies on `DEVICE`; within `elsewhere()` what is made there is one, and an operation that gets both kinds
raises as torch does. Numbers (tensors without axes) may come from the CPU, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

__all__ = ["DEVICE", "Elsewhere", "elsewhere", "move"]

DEVICE = torch.device("meta")
"""The one device that torch asks no driver for."""

_MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default)
"""(indexed, indices, ...): indices may lie on the CPU, as on a GPU."""


class Elsewhere(Tensor):
    """A tensor on `DEVICE`, whose numbers lie in `here`."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor, requires_grad: bool = False) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            device=DEVICE, requires_grad=requires_grad,
        )  # fmt: skip
        made.here = here
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.here!r})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _Moves(TorchFunctionMode):
    """What is made on `DEVICE`, or moved there or back: torch itself would look for a driver."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is Tensor.to:
            return _moved(args, given)
        if func in _OF_ONE and isinstance(args[0], Elsewhere):
            return _OF_ONE[func](func, args, given)
        if func is torch.tensor:  # of numbers that may lie there
            args = _inner(args)
        if func is torch.where and len(args) == 3 and any(isinstance(arg, Elsewhere) for arg in args):
            kind = next(arg.dtype for arg in args[1:] if isinstance(arg, Tensor))
            args = [arg if isinstance(arg, Tensor) else Elsewhere(torch.tensor(arg, dtype=kind)) for arg in args]
        device = given.get("device")
        if _is_device(device) and torch.device(device).type == DEVICE.type:
            return Elsewhere(func(*args, **given | {"device": "cpu"}))
        return func(*args, **given)


def _moved(args: Sequence[Any], given: dict[str, Any]) -> Tensor:
    """`Tensor.to`."""
    if len(args) > 1 and isinstance(args[1], Tensor):
        args, given = args[:1], {"device": args[1].device, "dtype": args[1].dtype}
    target = next((torch.device(a) for a in [*args[1:], *given.values()] if _is_device(a)), args[0].device)
    rest = ["cpu" if _is_device(a) else a for a in args[1:]]
    moved = _inner(args[0]).to(*rest, **{n: "cpu" if n == "device" else v for n, v in given.items()})
    return Elsewhere(moved) if target.type == DEVICE.type else moved


def _set_data(_func: Any, args: Sequence[Any], _given: dict[str, Any]) -> None:
    args[0].here = args[1].here


def _indexed(func: Any, args: Sequence[Any], given: dict[str, Any]) -> Any:
    values = [v if isinstance(v, Tensor) else Elsewhere(torch.tensor(v, dtype=args[0].dtype)) for v in args[2:]]
    return func(args[0], _indices(args[1]), *values, **given)


def _new(_func: Any, args: Sequence[Any], given: dict[str, Any]) -> Tensor:
    return Elsewhere(torch.tensor(*args[1:], **{"dtype": args[0].dtype, **given}))


def _here(func: Any, args: Sequence[Any], given: dict[str, Any]) -> Any:
    return func(args[0].here, *args[1:], **given)


_OF_ONE: dict[Any, Any] = {
    Tensor.data.__set__: _set_data,  # pyright: ignore[reportAttributeAccessIssue]
    Tensor.__getitem__: _indexed,
    Tensor.__setitem__: _indexed,
    Tensor.new_tensor: _new,
    Tensor.tolist: _here,
    Tensor.item: _here,
    Tensor.cpu: _here,
}
"""What torch does in C++, with tensors that it makes on the device itself."""


def _indices(index: Any) -> Any:
    """Lists of places become tensors where the indexed one is, as torch makes them on a GPU."""
    if isinstance(index, tuple):
        return tuple(map(_indices, index))
    return Elsewhere(torch.tensor(index)) if isinstance(index, list) else index


def _inner(values: Any) -> Any:
    return tree_map(lambda leaf: leaf.here if isinstance(leaf, Elsewhere) else leaf, values)


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cpu", DEVICE.type))


def _run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    if empty := [tensor for tensor in tensors if tensor.device == DEVICE and not isinstance(tensor, Elsewhere)]:
        raise AssertionError(f"{func}: {empty[0]} has no numbers; _Moves is to know what makes it")
    placed = args[2:] if func in _INDEXING and isinstance(args[0], Elsewhere) else tensors
    here = [one for one in placed if isinstance(one, Tensor) and one.dim() and not isinstance(one, Elsewhere)]
    if there and here and func not in _MOVES:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found {DEVICE} and cpu")
    target = kwargs.get("device")
    goes = bool(there) if target is None else torch.device(target).type == DEVICE.type
    if target is not None and goes:
        kwargs["device"] = torch.device("cpu")
    if func is torch.ops.aten.copy_.default:
        goes = isinstance(args[0], Elsewhere)
    args, kwargs = _inner((args, kwargs))
    output = func(*args, **kwargs)
    changed = {id(tensor.here): tensor for tensor in there}

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not goes:
            return leaf
        return changed.get(id(leaf)) if id(leaf) in changed else Elsewhere(leaf)

    return tree_map(wrapped, output)


def move(model: nn.Module) -> nn.Module:
    """The model's weights and buffers, elsewhere; tied ones stay tied."""
    moved: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                there = moved.get(id(parameter))
                if there is None:
                    there = nn.Parameter(Elsewhere(parameter.data), requires_grad=parameter.requires_grad)
                module._parameters[name] = moved[id(parameter)] = there
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = Elsewhere(buffer)
    return model


@contextmanager
def elsewhere() -> Iterator[None]:
    """Within the block tensors can be made on `DEVICE`."""
    autocast, is_enabled = torch.autocast, torch.is_autocast_enabled
    torch.autocast = lambda kind, **options: autocast("cpu", **options)  # pyright: ignore[reportAttributeAccessIssue]
    torch.is_autocast_enabled = lambda *_kind: is_enabled("cpu")
    try:
        with _Moves():
            yield
    finally:
        torch.autocast, torch.is_autocast_enabled = autocast, is_enabled
