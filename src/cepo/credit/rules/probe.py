"""A rule is tried on random input when it is registered: what it reads, what it returns, and what it promises."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from cepo.credit.rules.rule import Credit, Inputs, Knobs, Quantities, Rule
from cepo.errors import RuleError

__all__ = ["probe"]

ADVANTAGE = (1.5, -0.5, 0.0, -2.0)
LENGTHS = (7, 5, 3, 1)
TWO_DEVICES = ("on the same device", "two different devices")
"""What torch says of an operation on tensors of two devices, in one version or another."""

KNOBS = (Knobs(0.5, 0.5), Knobs(1.0, 0.2, 0.1), Knobs(0.0, 0.0))


def probe(rule: Rule) -> None:
    """Call the rule's function on random rows, with what it declares and nothing else.

    Raises:
        RuleError: it reads what it does not declare, fails, returns other shapes, numbers that are not finite or
            other numbers the second time, breaks `keeps_sign` or `acts_where_equal`, or makes a tensor that is not
            where its rows are.
    """
    if rule.assign is None:
        return
    for seed, knobs in enumerate(KNOBS):
        inputs = _random_inputs(rule, knobs, seed)
        credit, again = _call(rule, inputs), _call(rule, inputs)
        _check(rule, inputs, credit, again)
    _check_place(rule, _random_inputs(rule, KNOBS[0], 0))


def _random_inputs(rule: Rule, knobs: Knobs, seed: int) -> Inputs:
    rng = torch.Generator().manual_seed(seed)
    rows, width = len(ADVANTAGE), max(LENGTHS)
    mask_BT = torch.arange(width) < torch.tensor(LENGTHS)[:, None]

    def uniform(*shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=rng)
        return drawn * mask_BT if shape == mask_BT.shape else drawn  # padding is 0, as in training

    values = {
        "entropy_BT": uniform(rows, width),
        "pass_rate_B": uniform(rows),
        "deviation_B": uniform(rows) + 0.1,
        "group_size_B": torch.tensor((8.0, 2.0, 4.0, 3.0)),
        "reward_B": uniform(rows),
        "verdict_B": torch.tensor(ADVANTAGE) > 0,
        "scores_BT": uniform(rows, width) - uniform(rows, width),
    }
    asked = {name: value for name, value in values.items() if name.rpartition("_")[0] in rule.reads}
    logps = {prompt: -5 * uniform(rows, width) for prompt in rule.prompts}
    return Inputs(rule.name, torch.tensor(ADVANTAGE), mask_BT.int(), knobs, logps, Quantities(**asked))


def _call(rule: Rule, inputs: Inputs) -> Credit:
    if rule.assign is None:
        raise RuleError(f"rule {rule.name!r} has no `assign` to call")
    try:
        credit = rule.assign(inputs)
    except RuleError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise RuleError(f"rule {rule.name!r} fails on random input of 4 rows x 7 tokens: {what}") from error
    if not isinstance(credit, Credit):
        raise RuleError(f"rule {rule.name!r} must return a Credit, got {type(credit).__name__}")
    return credit


def _check(rule: Rule, inputs: Inputs, credit: Credit, again: Credit) -> None:
    wanted = inputs.mask_BT.shape
    keep_BT = inputs.mask_BT.bool()
    for name in ("evidence_BT", "weight_BT", "advantage_BT"):
        value, second = getattr(credit, name), getattr(again, name)
        if value.shape != wanted:
            raise RuleError(f"rule {rule.name!r}: {name} must be (B, T) = {tuple(wanted)}, got {tuple(value.shape)}")
        if not value.isfinite().all():  # on padding too: 0 times nan would spoil the whole loss
            raise RuleError(f"rule {rule.name!r}: {name} is not finite on finite input (padding is 0 there)")
        if not torch.equal(value, second):
            raise RuleError(f"rule {rule.name!r}: {name} is another one when called again; draw from a fixed seed")
    _check_promises(rule, inputs, torch.where(keep_BT, credit.advantage_BT, 0.0))


def _check_promises(rule: Rule, inputs: Inputs, advantage_BT: Tensor) -> None:
    equal_B = inputs.advantage_B == 0
    if not rule.acts_where_equal and advantage_BT[equal_B].any():
        raise RuleError(f"rule {rule.name!r} gives credit where A = 0: say acts_where_equal=True if that is meant")
    opposed = advantage_BT.sign() * inputs.advantage_B.sign()[:, None] < 0
    if rule.keeps_sign and opposed.any():
        raise RuleError(f"rule {rule.name!r} turns the sign of A: say keeps_sign=False if that is meant")


def _check_place(rule: Rule, inputs: Inputs) -> None:
    """What would fail on a GPU, told without one: fake tensors have a device (`meta` stands for any) and no numbers.

    A rule that looks at numbers to decide what to do cannot be followed so, and is taken at its word.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            inputs = _moved(inputs, mode)
            credit = _call(rule, inputs)
    except RuleError as error:
        if any(words in str(error.__cause__) for words in TWO_DEVICES):
            raise _misplaced(rule, "mixes") from error
        return
    if any(
        value.device != inputs.mask_BT.device for value in (credit.evidence_BT, credit.weight_BT, credit.advantage_BT)
    ):
        raise _misplaced(rule, "returns")


def _moved(inputs: Inputs, mode: FakeTensorMode) -> Inputs:
    """The same elsewhere."""

    def there(value: Tensor) -> Tensor:
        with mode:
            return torch.empty(value.shape, dtype=value.dtype, device="meta")

    quantities = {field.name: getattr(inputs.quantities, field.name) for field in fields(inputs.quantities)}
    return replace(
        inputs,
        advantage_B=there(inputs.advantage_B),
        mask_BT=there(inputs.mask_BT),
        logps={prompt: there(logp_BT) for prompt, logp_BT in inputs.logps.items()},
        quantities=Quantities(**{name: there(value) for name, value in quantities.items() if value is not None}),
    )


def _misplaced(rule: Rule, does: str) -> RuleError:
    return RuleError(
        f"rule {rule.name!r} {does} a tensor on the CPU where its rows are on a GPU: make tensors where these are, as "
        "torch.zeros_like(inputs.mask_BT, dtype=torch.float32) does, or by device=inputs.mask_BT.device"
    )
