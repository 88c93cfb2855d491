"""What a credit rule is, what it is handed, and what it gives back.

A rule names the prompts and the quantities that it reads, and is handed exactly those: asking for another one is
an error at `register`, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cepo.credit.evidence import contrastive_evidence, dead_zone, modulate, privileged_gain, weights
from cepo.errors import RuleError

__all__ = [
    "QUANTITIES",
    "STUDENT",
    "Assign",
    "Credit",
    "Inputs",
    "Knobs",
    "Quantities",
    "Quantity",
    "Rule",
    "added",
    "contrast",
    "credit_from",
    "gain",
    "weighed",
]

T = TypeVar("T")

STUDENT = "student"
"""The prompt without a reference: the policy's own. It needs no entry in the registry of references."""

Quantity = Literal["entropy", "pass_rate", "deviation", "group_size", "reward", "verdict", "scores"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


@dataclass(frozen=True, slots=True)
class Knobs:
    """The settings of one step: lambda in [0, 1], eps_w in [0, 1), and the dead zone in nats.

    `options`: the rule's own record of them (`Rule.options`), which it reads through `Inputs.options`; None: its
    defaults.
    """

    strength: float
    clip: float
    dead_zone: float = 0.0
    options: object | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """What a rule gives its rows, each (B, T): evidence (nats; 0 where it has none), weight and advantage.

    `advantage_BT` is what the loss reads; evidence and weight are what logs, records and reports show.
    """

    evidence_BT: Tensor
    weight_BT: Tensor
    advantage_BT: Tensor


@dataclass(frozen=True, slots=True)
class Quantities:
    """What a rule may read beside log-probs. None: it did not ask.

    Attributes:
        entropy_BT: of the student's distribution at each token, nats, at the sampling temperature.
        pass_rate_B: share of right rollouts in the row's group.
        deviation_B: standard deviation of the group's rewards, Bessel-corrected: what divides A.
        group_size_B: G, rollouts of the row's group.
        reward_B: total reward.
        verdict_B: whether the row is right; False where no verdict exists too.
        scores_BT: per-token scores from outside, 0 on padding; rows without scores never reach the rule.
    """

    entropy_BT: Tensor | None = None
    pass_rate_B: Tensor | None = None
    deviation_B: Tensor | None = None
    group_size_B: Tensor | None = None
    reward_B: Tensor | None = None
    verdict_B: Tensor | None = None
    scores_BT: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a rule is handed for B rows of T completion tokens: what it declared, and nothing else.

    Attributes:
        rule: its name, for errors.
        advantage_B: A of each row, before credit.
        mask_BT: tokens that the loss counts.
        knobs: the step's settings.
        logps: prompt name -> log-probs (B, T), nats; read them through `logp`.
        quantities: read them through `entropy_BT`, `pass_rate_B`, ...
    """

    rule: str
    advantage_B: Tensor
    mask_BT: Tensor
    knobs: Knobs
    logps: Mapping[str, Tensor]
    quantities: Quantities = Quantities()

    def logp(self, prompt: str) -> Float[Tensor, "B T"]:
        """Log-probs of the rows' tokens under a prompt, nats. Where a row has no wrong reference and the fallback is
        `rlsd`, "minus" holds the student's.

        Raises:
            RuleError: a prompt that the rule did not declare.
        """
        if prompt not in self.logps:
            raise RuleError(
                f"rule {self.rule!r} reads the prompt {prompt!r}, but declares {tuple(self.logps)}: add it to `prompts`"
            )
        return self.logps[prompt]

    def options(self, kind: type[T]) -> T:
        """The rule's own settings of this step, as the record that it declares: `inputs.options(MyOptions).beta`.

        Raises:
            RuleError: the settings are another rule's.
        """
        given = self.knobs.options
        if given is None:
            return kind()
        if not isinstance(given, kind):
            raise RuleError(
                f"rule {self.rule!r} reads {kind.__name__}, but was given {type(given).__name__}: declare "
                f"`options={kind.__name__}`"
            )
        return given

    @property
    def entropy_BT(self) -> Float[Tensor, "B T"]:
        return self._read("entropy", self.quantities.entropy_BT)

    @property
    def pass_rate_B(self) -> Float[Tensor, "B"]:
        return self._read("pass_rate", self.quantities.pass_rate_B)

    @property
    def deviation_B(self) -> Float[Tensor, "B"]:
        return self._read("deviation", self.quantities.deviation_B)

    @property
    def group_size_B(self) -> Float[Tensor, "B"]:
        return self._read("group_size", self.quantities.group_size_B)

    @property
    def reward_B(self) -> Float[Tensor, "B"]:
        return self._read("reward", self.quantities.reward_B)

    @property
    def verdict_B(self) -> Bool[Tensor, "B"]:
        return self._read("verdict", self.quantities.verdict_B)

    @property
    def scores_BT(self) -> Float[Tensor, "B T"]:
        return self._read("scores", self.quantities.scores_BT)

    def _read(self, name: Quantity, value: Tensor | None) -> Tensor:
        if value is None:
            raise RuleError(f"rule {self.rule!r} reads {name!r}, but does not declare it: add it to its `reads`")
        return value


Assign: TypeAlias = Callable[[Inputs], Credit]
"""A rule's pure function."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A credit rule: one small file with one pure function.

    Attributes:
        name: as in `CEPOConfig.method`.
        source: paper and formula.
        prompts: names of the prompts whose log-probs it reads: "student", and any in the registry of references
            ("plus", "minus", or one that you registered). Each costs a forward of the rows that get credit.
        assign: the function; None: every token keeps its row's advantage, and nothing is scored (GRPO).
        reads: what else it reads, of QUANTITIES.
        acts_where_equal: whether it also gives credit to rows of groups whose rewards are all equal (A = 0).
        keeps_sign: whether every token's advantage has the sign of A or is 0. `register` checks what is said here.
        options: a frozen dataclass of settings of its own, each with a default, whose `__post_init__` refuses what
            cannot be used (SettingError). `rule_options: {name: value}` in a recipe sets them; see `Inputs.options`.
        defaults: what it wants of `CreditSettings` in place of their defaults; presets and what is given stand above.
        row_free_references: whether what it proves needs references that do not depend on the row itself. Its prompts
            must then be `row_free` ones, and `reference_minus='own'` is refused.
    """

    name: str
    source: str
    prompts: tuple[str, ...] = ()
    assign: Assign | None = None
    reads: frozenset[Quantity] = frozenset()
    acts_where_equal: bool = False
    keeps_sign: bool = True
    options: type | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    row_free_references: bool = False

    @property
    def references(self) -> tuple[str, ...]:
        """Its prompts that hold a reference."""
        return tuple(prompt for prompt in self.prompts if prompt != STUDENT)


def credit_from(inputs: Inputs, evidence_BT: Float[Tensor, "B T"]) -> Credit:
    """CEPO's way from evidence of any kind to advantages: dead zone, clip, lambda (arXiv 2605.19436).

    Evidence in nats; see `cepo.credit.evidence.modulate` for the formula and its bounds.
    """
    knobs = inputs.knobs
    evidence_BT = dead_zone(evidence_BT, knobs.dead_zone)
    given = (inputs.advantage_B, evidence_BT, inputs.mask_BT)
    return Credit(
        evidence_BT=evidence_BT,
        weight_BT=weights(*given, knobs.clip),
        advantage_BT=modulate(*given, knobs.strength, knobs.clip),
    )


def contrast(inputs: Inputs) -> Float[Tensor, "B T"]:
    """CEPO's evidence, log P+ - log P-, less the dead zone; nats, 0 outside the mask."""
    evidence_BT = contrastive_evidence(inputs.logp("plus"), inputs.logp("minus"), inputs.mask_BT)
    return dead_zone(evidence_BT, inputs.knobs.dead_zone)


def gain(inputs: Inputs) -> Float[Tensor, "B T"]:
    """RLSD's evidence, log P+ - log P_S, less the dead zone; nats, 0 outside the mask."""
    evidence_BT = privileged_gain(inputs.logp("plus"), inputs.logp(STUDENT), inputs.mask_BT)
    return dead_zone(evidence_BT, inputs.knobs.dead_zone)


def weighed(inputs: Inputs, evidence_BT: Float[Tensor, "B T"], weight_BT: Float[Tensor, "B T"]) -> Credit:
    """Credit from weights: A_hat_t = A ((1 - lambda) + lambda w_t); weight 1 outside the mask and where A = 0.

    |A_hat - A| <= lambda max|w - 1| |A|, and the sign of A stays for w >= 0. Exactly A at lambda = 0 or w = 1.
    """
    strength, advantage_B1 = inputs.knobs.strength, inputs.advantage_B[:, None]
    weight_BT = torch.where(inputs.mask_BT.bool() & (advantage_B1 != 0), weight_BT, 1.0)
    return Credit(evidence_BT, weight_BT, advantage_B1 * ((1.0 - strength) + strength * weight_BT))


def added(
    inputs: Inputs,
    evidence_BT: Float[Tensor, "B T"],
    shift_BT: Float[Tensor, "B T"],
    *,
    keep_sign: bool = False,
    where_equal: bool = False,
) -> Credit:
    """Credit by addition: A_hat_t = A + shift_t, in units of A; the rule has put lambda into the shift.

    A stays outside the mask and, unless `where_equal`, where it is 0. `keep_sign`: 0 where the sum has not the sign of
    A. The weight that is shown is A_hat_t / A, 1 where A = 0.
    """
    advantage_B1 = inputs.advantage_B[:, None]
    moved_BT = inputs.mask_BT.bool() & ((advantage_B1 != 0) | where_equal)
    advantage_BT = advantage_B1 + torch.where(moved_BT, shift_BT, 0.0)
    if keep_sign:
        advantage_BT = torch.where(advantage_BT * advantage_B1 < 0, 0.0, advantage_BT)
    weight_BT = torch.where(advantage_B1 != 0, advantage_BT / torch.where(advantage_B1 != 0, advantage_B1, 1.0), 1.0)
    return Credit(evidence_BT, weight_BT, advantage_BT)
