"""A policy that confuses relations: what the embedded figures model is warm-started on.

It reads every panel rightly and calculates rightly. On a share of what it can meet (a relation with the angle that the
panel gives, or with the angle before where it gives none) it takes the relation for another one most of the time. So
its failures are choices, which reinforcement learning can mend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random

from cepo.figures.problems import Figure, Work
from cepo.figures.relations import FULL, GIVEN, KINDS, UNIT, Form, Step

__all__ = ["Confusions"]


@dataclass(frozen=True)
class Confusions:
    """The policy. Probabilities in [0, 1].

    Attributes:
        seed: which cases are confused.
        share: of the cases of each relation that are confused.
        wrong: how often the relation is confused where it can be.
    """

    seed: int = 0
    share: float = 0.5
    wrong: float = 0.55

    @cached_property
    def confused(self) -> dict[tuple[str, int], Form]:
        """The cases (relation, angle) in which a relation is confused -> the form that it is taken for."""
        rng = Random(f"confusions/{self.seed}")
        found: dict[tuple[str, int], Form] = {}
        for name, kind in KINDS.items():
            angles = GIVEN if kind.gives else range(0, FULL, UNIT)
            for angle in rng.sample(angles, round(self.share * len(angles))):
                found[name, angle] = rng.choice(kind.confused)
        return found

    def confusion(self, step: Step, value: int) -> Form | None:
        """What this panel is taken for after an angle of `value` degrees; None: it is not confused."""
        return self.confused.get((step.kind, step.given if KINDS[step.kind].gives else value))

    def work(self, figure: Figure, rng: Random, told: Work | None = None, follow: float = 0.9) -> Work:
        """A way through a figure.

        Args:
            told: a way that it was shown; while it is on its track, it takes the next step as shown with probability
                `follow`, and else works as if it had not been told.
        """
        value, done = figure.start, []
        on_track = told is not None
        for index, step in enumerate(figure.steps):
            if told is not None and on_track and rng.random() < follow:
                done.append(told.steps[index])
            else:
                form = self.confusion(step, value)
                done.append(step.equations(value, form if form and rng.random() < self.wrong else None))
            on_track = told is not None and done[-1][-1].result == told.values[index]
            value = done[-1][-1].result
        return Work(figure.start, tuple(done))
