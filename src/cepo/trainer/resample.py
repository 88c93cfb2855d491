"""Dynamic sampling: groups of equal rewards give no gradient; fresh problems take their place.

Idea: DAPO (arXiv 2503.14476, section 3.2). Bounded: after the given tries what is still dead stays. With a band of pass
rates, groups outside of it are replaced too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor

from cepo.data.scores import TokenReward
from cepo.errors import SettingError
from cepo.glossary import Completion
from cepo.trainer.batch import Batch
from cepo.trainer.batch_rows import replaced
from cepo.trainer.prompt_host import Rows

__all__ = ["Band", "Drawn", "Graded", "Resampler", "dead_groups", "fresh_problems"]


@dataclass(frozen=True, slots=True)
class Graded:
    """What the reward functions said of this process's rows.

    Attributes:
        rewards: by row and function, (B, R).
        completions: as TRL hands them to reward functions.
        scores: row -> (function, reward) of the functions that scored its tokens too.
        feedback: row -> what reward functions said of it in words.
    """

    rewards: Tensor
    completions: Sequence[Completion]
    scores: Mapping[int, Sequence[tuple[str, TokenReward]]]
    feedback: Mapping[int, str] = field(default_factory=dict)

    def replacing(self, taken: Mapping[int, int], fresh: Graded) -> Graded:
        """With the rows `taken` (row -> row of `fresh`) replaced."""
        rewards = self.rewards.clone()
        rewards[list(taken)] = fresh.rewards[list(taken.values())]
        return Graded(
            rewards,
            _mixed(self.completions, fresh.completions, taken),
            _moved(self.scores, fresh.scores, taken),
            _moved(self.feedback, fresh.feedback, taken),
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows of the data set with their rollouts and what they were graded."""

    inputs: Rows
    batch: Batch
    graded: Graded


@dataclass(slots=True)
class Band:
    """Pass rates of the groups that are kept, and how long no group had one.

    Attributes:
        low, high: the band, both ends included.
        verdicts: whether each row of a generation is right; None, without a verdict, is not.
        misses: generations in a row, all tries included, in which no group of any process lay in the band.
    """

    low: float
    high: float
    verdicts: Callable[[Drawn], Sequence[bool | None]]
    misses: int = 0

    def outside(self, drawn: Drawn, group_size: int) -> set[int]:
        """Groups whose pass rate does not lie in the band."""
        return {group for group, rate in enumerate(self.rates(drawn, group_size)) if not self.low <= rate <= self.high}

    def rates(self, drawn: Drawn, group_size: int) -> list[float]:
        right = [verdict is True for verdict in self.verdicts(drawn)]
        return [sum(right[row : row + group_size]) / group_size for row in range(0, len(right), group_size)]

    def settled(self, kept: int, tries: int, rates: Sequence[float]) -> None:
        """After a generation: `kept` groups of all processes lie in the band.

        Raises:
            SettingError: none has for PATIENCE generations.
        """
        self.misses = 0 if kept else self.misses + 1
        if self.misses >= PATIENCE:
            seen = ", ".join(f"{rate:.2f}" for rate in sorted(set(rates)))
            raise SettingError(
                f"no group of {PATIENCE} generations in a row, with {tries} tries each, had a pass rate in "
                f"[{self.low}, {self.high}] (the last ones: {seen}): widen pass_rate_low and pass_rate_high, raise "
                "resample_dead_groups, or train on problems nearer to what the model can do"
            )


PATIENCE = 3
"""Generations without a group in the band, until the run ends."""


@dataclass(frozen=True, slots=True)
class Resampler:
    """What replacing groups rests on.

    Attributes:
        tries: how often at most.
        generate: rollouts of given rows, graded.
        total: rewards (B, R) to totals (B,).
        log: a metric's name and value.
        band: pass rates of the groups that are kept; None: all live ones.
        among: problems to draw from, by index; None: all.
    """

    tries: int
    dataset: Dataset
    group_size: int
    pad_id: int
    accelerator: Accelerator
    generate: Callable[[Rows], Drawn]
    total: Callable[[Tensor], Tensor]
    log: Callable[[str, float], None]
    band: Band | None = None
    among: Sequence[int] | None = None

    def __call__(self, drawn: Drawn, seed: str) -> Drawn:
        """Replace dead groups by live ones of fresh problems, drawn by `seed` (a collective call).

        Raises:
            SettingError: for some generations no group has had a pass rate in the band.
        """
        for attempt in range(self.tries):
            replaced = self._once(drawn, f"{seed}/{attempt}")
            if replaced is None:
                break
            drawn = replaced
        if self.band is not None:
            kept = len(drawn.inputs) // self.group_size - len(self._unwanted(drawn))
            everywhere = int(self._gathered(kept).sum())
            self.log("resample/groups_in_band", float(everywhere))
            self.band.settled(everywhere, self.tries, self.band.rates(drawn, self.group_size))
        return drawn

    def _unwanted(self, drawn: Drawn) -> list[int]:
        dead = set(dead_groups(self.total(drawn.graded.rewards), self.group_size))
        return sorted(dead | (self.band.outside(drawn, self.group_size) if self.band else set()))

    def _gathered(self, count: int) -> Tensor:
        """A count of every process."""
        return cast(Tensor, self.accelerator.gather(torch.tensor([count], device=self.accelerator.device)))

    def _once(self, drawn: Drawn, seed: str) -> Drawn | None:
        """One try: as many fresh problems as the process with most dead groups has; None: none is dead anywhere."""
        accelerator, size = self.accelerator, self.group_size
        dead = self._unwanted(drawn)
        most = int(self._gathered(len(dead)).max())
        if most == 0:
            return None
        own = (accelerator.process_index, accelerator.num_processes)
        fresh = self.generate(fresh_problems(self.dataset, most, size, seed, *own, among=self.among))
        still_dead = self._unwanted(fresh)
        live = [group for group in range(most) if group not in still_dead]
        pairs = zip(dead, live, strict=False)
        taken = {old * size + place: new * size + place for old, new in pairs for place in range(size)}
        merged = replaced(drawn.batch, taken, fresh.batch, self.pad_id)
        tokens = cast(Tensor, accelerator.gather(merged.loss_mask.sum())).sum()
        self.log("resample/rows_generated", float(len(fresh.inputs)))
        self.log("resample/groups_replaced", len(taken) / size)
        inputs = _mixed(drawn.inputs, fresh.inputs, taken)
        return Drawn(inputs, merged.having(num_items_in_batch=tokens), drawn.graded.replacing(taken, fresh.graded))


Item = TypeVar("Item")


def _mixed(old: Sequence[Item], fresh: Sequence[Item], taken: Mapping[int, int]) -> list[Item]:
    return [fresh[taken[row]] if row in taken else value for row, value in enumerate(old)]


def _moved(old: Mapping[int, Item], fresh: Mapping[int, Item], taken: Mapping[int, int]) -> dict[int, Item]:
    """The same of what only some rows have."""
    kept = {row: value for row, value in old.items() if row not in taken}
    return kept | {row: fresh[other] for row, other in taken.items() if other in fresh}


def dead_groups(reward_B: Tensor, group_size: int) -> list[int]:
    """Groups whose rewards are all equal, by their index."""
    reward_PG = reward_B.view(-1, group_size)
    return (reward_PG.max(dim=1).values == reward_PG.min(dim=1).values).nonzero().flatten().tolist()


def fresh_problems(
    dataset: Dataset,
    count: int,
    group_size: int,
    seed: str,
    process_index: int,
    processes: int,
    among: Sequence[int] | None = None,
) -> Rows:
    """This process's rows of `count` problems for each process, drawn by `seed`, each G times.

    `among`: the problems to draw from, by index; None: all.
    """
    rng, among = Random(f"resample/{seed}"), range(len(dataset)) if among is None else among
    drawn = rng.sample(among, min(len(among), count * processes))
    drawn += rng.choices(among, k=count * processes - len(drawn))
    own = drawn[process_index * count : (process_index + 1) * count]
    return [dataset[index] for index in own for _ in range(group_size)]
