"""Looking into a model while it runs: which of its modules computes in half precision, and where two forwards part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["first_difference", "half_precision"]

HALF = (torch.bfloat16, torch.float16)

ARITHMETIC = frozenset({
    "mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "convolution", "_grouped_mm", "mul", "add", "sub", "div",
    "pow", "rsqrt", "mean", "sum", "cumsum", "addcmul", "exp", "tanh", "sigmoid", "silu", "gelu", "softplus",
    "_softmax", "native_layer_norm", "native_group_norm", "_fused_rms_norm", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math",
})  # fmt: skip
"""Names of operations whose result is rounded to its dtype. Gathering, moving and looking up round nothing."""

LAST = 8
"""Positions whose states are compared."""

PARTED = 1e-3
"""Of the largest number: more is no rounding of fp32."""


@contextmanager
def half_precision(model: nn.Module) -> Iterator[list[str]]:
    """Within the block the list gets the class of each module that computes in bf16 or fp16, in order.

    Embeddings are left out: a table, and what is done to its rows alone, is rounded alike in every context.
    """
    found: list[str] = []
    running: list[nn.Module] = []

    def leave(_module: nn.Module, _args: object, _output: object) -> None:
        running.pop()

    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(lambda m, _args: running.append(m)).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        stack.enter_context(_Watch(running, found))
        yield found


class _Watch(TorchDispatchMode):
    def __init__(self, running: list[nn.Module], found: list[str]) -> None:
        super().__init__()
        self.running, self.found = running, found

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        looking_up = any(isinstance(module, nn.Embedding) for module in self.running)
        if self.running and not looking_up and _rounds(func, args, output):
            self.found.append(type(self.running[-1]).__name__)
        return output


def _rounds(func: Any, args: Sequence[Any], output: Any) -> bool:
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(first, Tensor) or first.dtype not in HALF:
        return False
    name = func.overloadpacket.__name__.rstrip("_")
    if name == "_to_copy":  # of an activation; weights have fewer axes where they are cast and gathered
        return args[0].dtype == torch.float32 and first.dim() >= 3
    return name in ARITHMETIC


@torch.no_grad()
def first_difference(model: nn.Module, one: Callable[[], object], other: Callable[[], object]) -> str | None:
    """Class of the first module, in order of completion, whose last states differ between two forwards of one row."""
    expected, found = _outputs(model, one), _outputs(model, other)
    for name, (kind, states) in expected.items():
        again = found.get(name, (kind, None))[1]
        if again is None or again.shape != states.shape:
            continue
        scale = states.abs().max().clamp(min=1e-12)
        if not (again - states).abs().max() / scale < PARTED:
            return kind
    return None


def _outputs(model: nn.Module, run: Callable[[], object]) -> dict[str, tuple[str, Tensor]]:
    """Module, and how often it has run -> (its class, states of the last positions)."""
    outputs: dict[str, tuple[str, Tensor]] = {}

    def keep(name: str, module: nn.Module, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, Tensor) and first.dim() == 3 and first.is_floating_point():
            number = sum(key.startswith(f"{name}#") for key in outputs)
            outputs[f"{name}#{number}"] = (type(module).__name__, first[:, -LAST:].detach().float().cpu())

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, _args, output: keep(name, module, output)

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        run()
    return outputs
