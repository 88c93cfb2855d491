"""Controls for any rule: what its credit is worth without its evidence.

`permuted`: the same numbers on other tokens of the row: what is lost is the evidence's place.
`mass`: every token gets the mean weight of its sign of A: what is left is less (or more) praise and blame.
`random`: weights drawn from CEPO's bounds: neither.
A rule that does not beat its own controls has not found better credit, whatever it gains over GRPO.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from cepo.credit.masked import masked_sum
from cepo.credit.rules.rule import Credit, Inputs
from cepo.errors import SettingError

__all__ = ["CONTROLS", "NO_CONTROL", "Control", "control_credit"]

CONTROLS = ("off", "permuted", "mass", "random")


@dataclass(frozen=True, slots=True)
class Control:
    """A control, and the seed of its draws.

    Attributes:
        kind: one of CONTROLS.
        mix: of `permuted`: the share of a row's tokens that change places, each drawn with this probability; below 1
            it makes evidence worse by degrees.
        seed: of the draws, with the step and the row: equal on any number of processes.
    """

    kind: str = "off"
    mix: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in CONTROLS:
            raise SettingError(f"unknown credit_control {self.kind!r}; choose from {', '.join(CONTROLS)}")
        if not 0.0 <= self.mix <= 1.0:
            raise SettingError(f"credit_mix must lie in [0, 1], got {self.mix}")
        if self.mix < 1.0 and self.kind != "permuted":
            raise SettingError(f"credit_mix={self.mix} is of credit_control='permuted'; credit_control={self.kind!r}")

    @property
    def mark(self) -> str:
        """What stands behind the method's name in records."""
        return {"off": "", "permuted": "+permuted" if self.mix == 1.0 else f"+permuted({self.mix:g})"}.get(
            self.kind, f"+{self.kind}"
        )


NO_CONTROL = Control()


def control_credit(
    control: Control,
    inputs: Inputs | None,
    credit: Credit | None,
    draws: Sequence[str],
    total: Callable[[Tensor], Tensor],
    device: torch.device,
) -> Credit | None:
    """The rule's credit under a control. Tokens outside the mask keep theirs.

    Args:
        inputs, credit: of this process's credited rows; None: it has none (`total` is called all the same).
        draws: for each row what its draws are seeded with, beside the control's seed.
        total: sums a tensor over the processes.
    """
    if control.kind == "mass":
        scales = _scales(total(_sums(inputs, credit, device)))
        return credit if inputs is None or credit is None else _mass(inputs, credit, scales)
    if inputs is None or credit is None or control.kind == "off":
        return credit
    seeds = [Random(f"{control.kind}/{control.seed}/{draw}").getrandbits(63) for draw in draws]
    if control.kind == "random":
        return _random(inputs, seeds)
    return _permuted(inputs, credit, seeds, control.mix)


def _permuted(inputs: Inputs, credit: Credit, seeds: Sequence[int], mix: float) -> Credit:
    """Evidence, weight and advantage of a row's tokens change places together."""
    order_BT = torch.arange(inputs.mask_BT.shape[1]).repeat(len(seeds), 1)
    for row, seed in enumerate(seeds):
        rng = torch.Generator().manual_seed(seed)
        places = inputs.mask_BT[row].bool().nonzero().flatten().cpu()
        moving = places[torch.rand(len(places), generator=rng) < mix]
        order_BT[row, moving] = moving[torch.randperm(len(moving), generator=rng)]
    order_BT = order_BT.to(inputs.mask_BT.device)
    return Credit(
        credit.evidence_BT.gather(1, order_BT),
        credit.weight_BT.gather(1, order_BT),
        credit.advantage_BT.gather(1, order_BT),
    )


def _random(inputs: Inputs, seeds: Sequence[int]) -> Credit:
    """w_t drawn uniformly from 1 +- eps_w, whatever the rule says; then lambda. There is no evidence."""
    drawn = [torch.rand(inputs.mask_BT.shape[1], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    advantage_B1 = inputs.advantage_B[:, None]
    uniform_BT = torch.stack(drawn).to(advantage_B1)
    weight_BT = torch.where(inputs.mask_BT.bool(), 1.0 + inputs.knobs.clip * (2.0 * uniform_BT - 1.0), 1.0)
    strength = inputs.knobs.strength
    return Credit(torch.zeros_like(weight_BT), weight_BT, advantage_B1 * ((1.0 - strength) + strength * weight_BT))


def _sums(inputs: Inputs | None, credit: Credit | None, device: torch.device) -> Tensor:
    """For A > 0, A < 0 and A = 0: what the rule gives over all tokens, what A would give, and tokens; (3, 3)."""
    if inputs is None or credit is None:
        return torch.zeros(3, 3, dtype=torch.float64, device=device)
    keep_BT, advantage_B1 = inputs.mask_BT.bool(), inputs.advantage_B[:, None].double()
    given_B = masked_sum(credit.advantage_BT.double(), keep_BT)[:, 0]
    whole_B = masked_sum(advantage_B1.expand(keep_BT.shape), keep_BT)[:, 0]
    rows = [sign == inputs.advantage_B.sign() for sign in (1, -1, 0)]
    columns = torch.stack([given_B, whole_B, keep_BT.sum(1).double()], dim=1)
    return torch.stack([columns[of].sum(0) for of in rows])


def _scales(sums: Tensor) -> Tensor:
    """Mean weight at A > 0 and A < 0, and mean advantage at A = 0; 1, 1 and 0 where there are no tokens."""
    given, whole, tokens = sums.unbind(1)
    by_sign = torch.where(whole[:2] != 0, given[:2] / torch.where(whole[:2] != 0, whole[:2], 1.0), 1.0)
    return torch.cat([by_sign, given[2:] / tokens[2:].clamp(min=1.0)])


def _mass(inputs: Inputs, credit: Credit, scales: Tensor) -> Credit:
    """The step's praise, and its blame, stay what the rule makes of them in all; every token of a sign weighs the same.

    The mean is that of the weights, each counted by its |A|: sum A_hat / sum A over the tokens of credited rows. The
    evidence stays where the rule found it.
    """
    keep_BT, advantage_B1 = inputs.mask_BT.bool(), inputs.advantage_B[:, None]
    up, down, equal = scales.to(advantage_B1.dtype)
    weight_B1 = torch.where(advantage_B1 > 0, up, torch.where(advantage_B1 < 0, down, 1.0))
    flat_B1 = torch.where(advantage_B1 != 0, advantage_B1 * weight_B1, equal)
    return replace(
        credit,
        weight_BT=torch.where(keep_BT, weight_B1, 1.0),
        advantage_BT=torch.where(keep_BT, flat_B1, advantage_B1),
    )
