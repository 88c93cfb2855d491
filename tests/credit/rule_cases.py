"""Hypothesis draws of what a rule is handed, in float64, and the same as plain lists for the naive twins."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from cepo.credit.rules import METHODS, Credit, Inputs, Knobs, Quantities, Rule
from tests.credit.strategies import ADVANTAGE, CLIP, STRENGTH

RULES = [rule for rule in METHODS.values() if isinstance(rule, Rule) and rule.assign is not None]
NAMES = [rule.name for rule in RULES]

FEW = settings(max_examples=20)
"""For what is asked of every rule: fifteen rules make up for the number of draws of each."""

LOGP = st.one_of(st.floats(-6.0, -0.001), st.sampled_from([-0.05, -1.0]))
"""Finite: rows with another log-prob never reach a rule."""

FAR = st.sampled_from([-60.0, -30.0])


@dataclass(frozen=True)
class Case:
    """What a rule may read of some rows."""

    advantage_B: Tensor
    mask_BT: Tensor
    logps: dict[str, Tensor]
    quantities: Quantities
    strength: float
    clip: float
    dead_zone: float = 0.0

    def inputs(self, rule: Rule, options: object | None = None) -> Inputs:
        """What `rule` declares, and nothing else."""
        asked = {f"{name}_{'BT' if name in ('entropy', 'scores') else 'B'}" for name in rule.reads}
        given = {name: getattr(self.quantities, name) for name in asked}
        knobs = Knobs(self.strength, self.clip, self.dead_zone, options)
        logps = {prompt: self.logps[prompt] for prompt in rule.prompts}
        return Inputs(rule.name, self.advantage_B, self.mask_BT, knobs, logps, Quantities(**given))

    def credit(self, rule: Rule, options: object | None = None) -> Credit:
        assert rule.assign is not None
        return rule.assign(self.inputs(rule, options))

    def taking(self, rows: list[int]) -> Case:
        """The case of these rows alone."""
        quantities = {
            name: None if value is None else value[rows]
            for name, value in ((name, getattr(self.quantities, name)) for name in Quantities.__slots__)
        }
        return replace(
            self,
            advantage_B=self.advantage_B[rows],
            mask_BT=self.mask_BT[rows],
            logps={prompt: logp_BT[rows] for prompt, logp_BT in self.logps.items()},
            quantities=Quantities(**quantities),
        )

    @property
    def keep(self) -> Tensor:
        return self.mask_BT != 0

    def lists(self) -> dict[str, list]:
        """advantage, mask and every log-prob stream as lists."""
        streams = {prompt: logp_BT.tolist() for prompt, logp_BT in self.logps.items()}
        return {"advantage": self.advantage_B.tolist(), "mask": self.mask_BT.tolist(), **streams}


def rule_of(name: str) -> Rule:
    rule = METHODS[name]
    assert isinstance(rule, Rule)
    return rule


@st.composite
def cases(draw: st.DrawFn, *, nonzero: bool = False) -> Case:
    """`nonzero`: every row has an advantage."""
    rows, tokens = draw(st.integers(1, 4)), draw(st.integers(1, 6))

    def line(element: st.SearchStrategy, size: int) -> st.SearchStrategy:
        return st.lists(element, min_size=size, max_size=size)

    def grid(element: st.SearchStrategy) -> Tensor:
        return torch.tensor(draw(line(line(element, tokens), rows)))

    def logp() -> Tensor:
        return grid(st.one_of(LOGP, LOGP, LOGP, FAR)).double()

    def column(element: st.SearchStrategy) -> Tensor:
        return torch.tensor(draw(line(element, rows)))

    sizes = draw(line(st.integers(2, 8), rows))
    verdicts = draw(line(st.booleans(), rows))
    right = [draw(st.integers(int(ok), size - 1 + int(ok))) for size, ok in zip(sizes, verdicts, strict=True)]
    advantage = ADVANTAGE.filter(bool) if nonzero else ADVANTAGE
    return Case(
        advantage_B=column(advantage).double(),
        mask_BT=grid(st.booleans()).to(draw(st.sampled_from([torch.bool, torch.int64]))),
        logps={prompt: logp() for prompt in ("plus", "minus", "rival", "student")},
        quantities=Quantities(
            entropy_BT=grid(st.floats(0.0, 3.0)).double(),
            pass_rate_B=torch.tensor([r / g for r, g in zip(right, sizes, strict=True)]).double(),
            deviation_B=column(st.floats(0.05, 2.0)).double(),
            group_size_B=torch.tensor(sizes).double(),
            reward_B=column(st.floats(-1.0, 2.0)).double(),
            verdict_B=torch.tensor(verdicts),
            scores_BT=grid(st.floats(-2.0, 2.0)).double(),
        ),
        strength=draw(st.one_of(STRENGTH, st.sampled_from([0.0, 1.0]))),
        clip=draw(CLIP),
        dead_zone=draw(st.sampled_from([0.0, 0.0, 0.3])),
    )
