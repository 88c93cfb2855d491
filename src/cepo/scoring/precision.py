"""Evidence in its own precision, whatever the training runs in.

Evidence is a small difference of two log-probs: bf16 errors are as large as the signal on half of the tokens
(docs/performance.md). Within `scoring_in` the model computes in fp32, or in fp32 with TF32 products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor

from cepo.errors import ModelError, SettingError
from cepo.scoring.models import causal_model

__all__ = ["PRECISIONS", "Precision", "in_fp32", "replaced_forward", "scoring_in", "tf32_products"]

Precision = Literal["float32", "tf32", "bfloat16"]
"""`tf32`: fp32 storage, accumulation and output layer; TF32 products where the GPU has them. `float32`: exact
products. `bfloat16`: the model in its own dtype; only the output layer is fp32, with TF32 products where states and
weights have 16 bits, since TF32 rounds nothing of those."""
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")


@contextmanager
def scoring_in(model: nn.Module, precision: str) -> Iterator[None]:
    """Within the block `model` is in eval mode and computes in `precision`, outside of any autocast.

    Weights of another dtype are turned to fp32 one layer of the transformer at a time, while it runs, so that no
    second model has to fit. Packed weights of 4 or 8 bits stay as they are. Weights that FSDP2 or ZeRO-3 gathers in
    bf16 are the policy's own, rounded as in training; what is computed with them is fp32.

    Raises:
        ValueError: an unknown precision; or a model under FSDP version 1, whose parts cannot be run.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise ModelError("teachers cannot be scored under FSDP version 1; set fsdp_version: 2 in accelerate's config")
    device = next(model.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(_without_own_autocast(model))
        stack.enter_context(_without_router_logits(model))
        if precision != "bfloat16":
            stack.enter_context(tf32_products(precision == "tf32"))
            stack.enter_context(_without_flash_attention(model))
            stack.enter_context(_weights_in_fp32(model))
        yield


@contextmanager
def in_fp32(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within the block those of the parameters that are there, and floating, are fp32."""
    before = [(p, p.data) for p in parameters if _is_number(p) and p.dtype != torch.float32 and _is_here(p)]
    for parameter, data in before:
        parameter.data = data.float()
    try:
        yield
    finally:
        for parameter, data in before:
            parameter.data = data


@contextmanager
def replaced_forward(module: nn.Module, stand_in: Callable[..., object]) -> Iterator[None]:
    """Within the block `module` computes `stand_in(its own forward, *args, **kwargs)`, within its hooks."""
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = partial(stand_in, module.forward)
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own


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
def _without_own_autocast(model: nn.Module) -> Iterator[None]:
    """accelerate wraps the prepared model's forward in an autocast of its own, which would win over ours."""
    plain = model.__dict__.get("_original_forward")
    if plain is None:
        yield
        return
    with replaced_forward(model, lambda _wrapped, *args, **kwargs: plain(*args, **kwargs)):
        yield


@contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Within the block, of products of fp32 matrices and convolutions on CUDA.

    torch refuses a mix of its old and its new switches.
    """
    if hasattr(torch.backends, "fp32_precision"):
        switches: list[tuple[Any, str]] = [(torch.backends.cuda.matmul, "fp32_precision")]
        switches += [(cast(Any, torch.backends.cudnn).conv, "fp32_precision")]
        wanted: object = "tf32" if allowed else "ieee"
    else:
        switches = [(torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32")]
        wanted = allowed
    before = [getattr(owner, name) for owner, name in switches]
    for owner, name in switches:
        setattr(owner, name, wanted)
    try:
        yield
    finally:
        for (owner, name), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


@contextmanager
def _without_flash_attention(model: nn.Module) -> Iterator[None]:
    """flash-attn has no fp32 kernels: sdpa stands in, or eager attention where a model has no sdpa.

    A model's parts (the vision tower, the text model) are set and put back one by one: transformers' own setter
    changes all parts of a config at once.
    """
    # Told by the attribute: importing PreTrainedModel would load accelerate, which scoring needs nowhere.
    parts = [module for module in model.modules() if hasattr(type(module), "_supports_sdpa")]
    name = "_attn_implementation_internal"
    with ExitStack() as stack:
        for part in reversed(parts):  # the innermost knows best what its config's attention can be
            if "flash" in str(getattr(part.config, name, None)):
                stack.enter_context(_set(part.config, name, "sdpa" if part._supports_sdpa else "eager"))
        yield


@contextmanager
def _without_router_logits(model: nn.Module) -> Iterator[None]:
    """The balancing loss that goes with them cannot be had of a part of a sequence, and is not wanted."""
    configs = {id(config): config for module in model.modules() if (config := getattr(module, "config", None))}
    with ExitStack() as stack:
        for config in configs.values():
            if getattr(config, "output_router_logits", None) is True:
                stack.enter_context(_set(config, "output_router_logits", False))
        yield


@contextmanager
def _weights_in_fp32(model: nn.Module) -> Iterator[None]:
    """Layers, and every module that holds weights, turn them to fp32 while they run, within the hooks that gather them.

    A whole layer, since some modules leave their weights to be read by the one around them (experts, short
    convolutions); single modules, for weights that are gathered for them alone. Embeddings turn what they give
    instead. What stands outside of layers, the output layer too, is turned as soon as the model runs, since models
    ask its dtype for that of their inputs.
    """
    if all(p.dtype == torch.float32 and not isinstance(p, DTensor) for p in model.parameters()):
        yield
        return
    holders = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    layers = _layers(model)
    repeated = {id(part) for layer in layers for part in layer.modules()}
    embeddings = {id(module) for module in holders if isinstance(module, nn.Embedding)}
    rest = [module for module in holders if id(module) not in repeated | embeddings]
    turned = {id(module): [module] for module in holders}
    turned |= {id(layer): [part for part in layer.modules() if id(part) not in embeddings] for layer in layers}
    with ExitStack() as stack:
        stack.enter_context(_without_casts(model))
        for module in model.modules():
            if id(module) in embeddings:
                stack.enter_context(replaced_forward(module, partial(_embed_in_fp32, module)))
            elif id(module) in turned:
                stack.enter_context(replaced_forward(module, partial(_run_in_fp32, turned[id(module)])))
        inner: Any = causal_model(model)
        stack.enter_context(replaced_forward(inner, partial(_run_in_fp32, rest)))
        stack.enter_context(replaced_forward(inner.base_model, partial(_run_in_fp32, rest)))
        yield


def _layers(model: nn.Module) -> list[nn.Module]:
    """The outermost modules of lists: decoder layers, blocks of a vision tower."""
    found: list[nn.Module] = []

    def visit(module: nn.Module, in_list: bool) -> None:
        if in_list and not isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            found.append(module)
            return
        for child in module.children():
            visit(child, in_list or isinstance(module, nn.ModuleList))

    visit(model, False)
    return found


def _run_in_fp32(holders: list[nn.Module], forward: Callable[..., object], *args: object, **kwargs: object) -> object:
    args = tuple(a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
    with in_fp32(parameter for module in holders for parameter in module.parameters(recurse=False)):
        return forward(*args, **kwargs)


def _embed_in_fp32(table: nn.Module, forward: Callable[..., Tensor], *args: object, **kwargs: object) -> Tensor:
    """Rows of a table; or, given shares of them in place of their numbers, a product (Ovis 2)."""
    if any(isinstance(a, Tensor) and a.is_floating_point() for a in args):
        return cast(Tensor, _run_in_fp32([table], forward, *args, **kwargs))
    return forward(*args, **kwargs).float()


@contextmanager
def _without_casts(model: nn.Module) -> Iterator[None]:
    """No module casts what it is given to its weights' dtype, which is another by then."""
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                stack.enter_context(_without_fsdp_casts(module))
            if hasattr(module, "cast_input_dtype_enabled"):  # PEFT
                stack.enter_context(_set(module, "cast_input_dtype_enabled", False))
            if isinstance(getattr(module, "compute_dtype", None), torch.dtype):  # weights of 4 bits
                stack.enter_context(_set(module, "compute_dtype", torch.float32))
        yield


@contextmanager
def _without_fsdp_casts(module: FSDPModule) -> Iterator[None]:
    """FSDP2's mixed precision casts what enters and leaves each of its modules."""
    state: Any = cast(Any, module)._get_fsdp_state()
    before = state._mp_policy
    state._mp_policy = replace(before, cast_forward_inputs=False, output_dtype=None)
    try:
        yield
    finally:
        state._mp_policy = before


@contextmanager
def _set(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _is_number(parameter: nn.Parameter) -> bool:
    """Whether each element is a weight: packed weights (bitsandbytes, torchao) are subclasses that hold codes."""
    return parameter.is_floating_point() and (type(parameter) is nn.Parameter or isinstance(parameter, DTensor))


def _is_here(parameter: nn.Parameter) -> bool:
    """Whether the parameter's values are on this process as a whole: neither sharded nor yet to be gathered."""
    status = getattr(parameter, "ds_status", None)
    return not isinstance(parameter, DTensor) and (status is None or status.name == "AVAILABLE")
