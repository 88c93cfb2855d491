"""Evidence in its own precision, whatever the training runs in.

Evidence is a small difference of two log-probs: bf16 errors are as large as the signal on half of the tokens
(docs/performance.md). Within `scoring_in` the model computes in fp32, or in fp32 with TF32 products.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

__all__ = ["PRECISIONS", "Precision", "scoring_in"]

Precision = Literal["float32", "tf32", "bfloat16"]
"""`tf32`: fp32 storage, accumulation and output layer; TF32 products where the GPU has them. `float32`: exact
products. `bfloat16`: the model in its own dtype; only the output layer's result is fp32."""
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")


@contextmanager
def scoring_in(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Within the block `model` is in eval mode and computes in `precision`, outside of any autocast.

    Weights of another dtype are turned to fp32 one layer at a time, so that no second model has to fit.

    Raises:
        ValueError: an unknown precision; or sharded weights that are not fp32, which cannot be turned in place.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    device = next(model.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if precision != "bfloat16":
            stack.enter_context(_matmul_tf32(precision == "tf32"))
            stack.enter_context(_without_flash_attention(model))
            stack.enter_context(_weights_in_fp32(model))
        yield


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode: train mode with gradient checkpointing drops the cache, and dropout is not the policy."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _matmul_tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def _without_flash_attention(model: nn.Module) -> Iterator[None]:
    """flash-attn has no fp32 kernels: sdpa stands in."""
    configs = {
        id(config): config
        for module in model.modules()
        if "flash" in str(getattr(config := getattr(module, "config", None), "_attn_implementation", None))
    }
    before = [(config, config._attn_implementation) for config in cast(dict[int, Any], configs).values()]
    for config, _ in before:
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation


@contextmanager
def _weights_in_fp32(model: nn.Module) -> Iterator[None]:
    """Weights that are not fp32 become so: a repeated layer while it runs, an embedding's output, the rest at once."""
    if all(parameter.dtype == torch.float32 or not parameter.is_floating_point() for parameter in model.parameters()):
        yield
        return
    _refuse_sharded(model)
    layers = [layer for module in model.modules() if isinstance(module, nn.ModuleList) for layer in module]
    large = [module for module in model.modules() if isinstance(module, (nn.Embedding, nn.Linear))]
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    output_layers = [
        module
        for module in large
        if isinstance(module, nn.Linear) and not any(id(parameter) in inside for parameter in module.parameters())
    ]
    embeddings = [module for module in large if isinstance(module, nn.Embedding)]
    later = inside | {id(p) for module in [*output_layers, *embeddings] for p in module.parameters()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in later]
    with ExitStack() as stack:
        for module in [*layers, *output_layers]:
            stack.enter_context(_upcast_while_it_runs(module))
        for module in embeddings:
            handle = module.register_forward_hook(lambda _module, _args, output: output.float())
            stack.callback(handle.remove)
        stack.enter_context(_upcast(rest))
        yield


def _refuse_sharded(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "ds_id") or type(parameter.data).__name__ == "DTensor":
            raise ValueError(
                f"{name} is sharded and {parameter.dtype}: it cannot be turned to fp32 for scoring. Train with fp32 "
                "master weights (dtype: float32 with bf16: true), or set credit_precision=bfloat16 and accept its noise"
            )


@contextmanager
def _upcast(parameters: list[nn.Parameter]) -> Iterator[None]:
    before = _to_fp32(parameters)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def _upcast_while_it_runs(module: nn.Module) -> Iterator[None]:
    stack: list[list[tuple[nn.Parameter, Tensor]]] = []

    def before(_module: nn.Module, _args: Any) -> None:
        stack.append(_to_fp32(list(module.parameters())))

    def after(_module: nn.Module, _args: Any, _output: Any) -> None:
        _restore(stack.pop())

    handles = [module.register_forward_pre_hook(before), module.register_forward_hook(after, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while stack:
            _restore(stack.pop())


def _to_fp32(parameters: list[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
    changed = []
    for parameter in parameters:
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            changed.append((parameter, parameter.data))
            parameter.data = parameter.data.float()
    return changed


def _restore(changed: list[tuple[nn.Parameter, Tensor]]) -> None:
    for parameter, data in changed:
        parameter.data = data
