"""Figure problems: a row of panels, each of which says how its angle follows from the one before.

    40>line>triangle:30      panel A is 40 degrees, B lies beside it on a line (140), C is ...

Every panel needs the one before it, so that one wrong step spoils the answer, as in `cepo.chain`; but what the steps
are stands in the picture alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from cepo.answers import boxed_spans
from cepo.chain.marks import Mark
from cepo.chain.problems import SPLITS, Split
from cepo.errors import DataError
from cepo.figures.relations import GIVEN, KINDS, UNIT, Equation, Form, Step, fitting

__all__ = ["FIGURES", "LENGTHS", "NAMES", "Figure", "Slot", "Work", "draw_figure", "figures", "generate", "split_of"]

FIGURES = "figures"
"""The data path that means figure problems."""
LENGTHS = (2, 3, 4, 5, 6)
"""Dependent steps of a problem, in turn."""
NAMES = "ABCDEFG"
"""Panels in order; the first is the angle to start from."""
_MOST_START = 170
_CONTENT = re.compile(rf"\d+|[-+*]|\b(?:{'|'.join(KINDS)})\b")


@dataclass(frozen=True, slots=True)
class Slot:
    """What stands at one place of a right solution.

    Attributes:
        step: the step, from 0, that is settled once this is right; -1: none yet.
        cause: what went wrong where something else stands there: `misread` the picture, `slip` of copying or
            calculation; the relation is `confused` where it is one of `taken_for`, else a slip too.
        restates: whether it only says again what stands before it.
    """

    text: str
    step: int
    cause: str
    restates: bool = False
    taken_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """A way through a figure, right or wrong: for each step its equations. The last result is the answer."""

    start: int
    steps: tuple[tuple[Equation, ...], ...]

    @property
    def values(self) -> tuple[int, ...]:
        """The angle after each step."""
        return tuple(equations[-1].result for equations in self.steps)


@dataclass(frozen=True, slots=True)
class Figure:
    """A problem: the angle to start from, and the panels after it."""

    start: int
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """The figure in short: what makes two problems the same one, however they are drawn."""
        return ">".join([str(self.start), *(f"{s.kind}:{s.given}" if s.given else s.kind for s in self.steps)])

    @classmethod
    def parse(cls, key: str) -> Figure:
        """The figure of a key. Raises DataError: no such key."""
        start, *steps = key.split(">")
        made = cls(int(start) if start.isdecimal() else -1, tuple(map(_parse_step, steps)))
        known = all(s.kind in KINDS and (s.given in GIVEN) == KINDS[s.kind].gives for s in made.steps)
        if not (known and 1 <= len(steps) < len(NAMES) and made.key == key and made.start % UNIT == 0):
            raise DataError(f"{key!r} is no figure: write an angle and then each panel, as 40>line>triangle:30")
        return made

    def work(self, forms: Sequence[Form | None] | None = None) -> Work:
        """The way through it, right or by other forms of its steps (None: the right one)."""
        value, done = self.start, []
        for step, form in zip(self.steps, forms or [None] * len(self.steps), strict=True):
            done.append(step.equations(value, form))
            value = done[-1][-1].result
        return Work(self.start, tuple(done))

    @property
    def answer(self) -> int:
        return self.work().values[-1]

    @property
    def length(self) -> int:
        """How many steps there are."""
        return len(self.steps)

    def slots(self) -> Iterator[Slot]:
        """The right solution without its words: the first angle, then of each step its relation and its equations."""
        yield Slot(str(self.start), -1, "misread")
        for index, (step, equations) in enumerate(zip(self.steps, self.work().steps, strict=True)):
            yield Slot(step.kind, index - 1, "misread")
            if step.given:
                yield Slot(str(step.given), index - 1, "misread")
            for equation in equations:
                yield from _equation_slots(index, step, equation, is_last=equation is equations[-1])

    def marks(self, text: str, end: int) -> list[Mark]:
        """The numbers, signs and names of relations before character `end`, beside those of the right solution."""
        found = []
        slots = list(self.slots())
        for place, match in enumerate(_CONTENT.finditer(text, 0, end)):
            slot = slots[place] if place < len(slots) else Slot("", self.length, "slip")
            said = match.group()
            cause = "confused" if said in slot.taken_for else slot.cause
            found.append(Mark(match.start(), match.end(), said == slot.text, slot.step, cause, slot.restates))
        return found

    def first_error(self, text: str) -> str | None:
        """Why a solution went wrong first: `misread`, `confused` or `slip`; None: nothing before its box is wrong."""
        return next((mark.cause for mark in self.marks(text, _before_box(text)) if not mark.is_right), None)


def _before_box(text: str) -> int:
    boxes = boxed_spans(text)
    return boxes[-1][0] if boxes else len(text)


def _equation_slots(index: int, step: Step, equation: Equation, *, is_last: bool) -> Iterator[Slot]:
    """Left side, sign, right side and result; the number or the sign in which its relation is chosen.

    The step counts as settled from that choice on.
    """
    kind = KINDS[step.kind]
    of_number = is_last and kind.right.number is not None
    numbers, signs = tuple(str(form.number) for form in kind.confused), tuple(form.sign for form in kind.confused)
    settled = index if is_last else index - 1
    yield Slot(str(equation.left), settled, "slip", not of_number, numbers if of_number else ())
    chooses_sign = is_last and not of_number
    yield Slot(equation.sign, settled, "slip", not chooses_sign, signs if chooses_sign else ())
    yield Slot(str(equation.right), settled, "slip", restates=True)
    yield Slot(str(equation.result), settled, "slip")


def _parse_step(text: str) -> Step:
    kind, _, given = text.partition(":")
    return Step(kind, int(given) if given.isdecimal() else 0)


def split_of(key: str) -> Split:
    """The split that a figure belongs to, for ever: a hash of its key, 80/10/10; no seed and no order enters."""
    bucket = hashlib.sha256(f"{FIGURES}/{key}".encode()).digest()[0] % 10
    return "held_out" if bucket == 0 else "validation" if bucket == 1 else "train"


def draw_figure(rng: Random, steps: int) -> Figure:
    """A figure of any split: at each panel a relation of those that fit, then an angle that it can give."""
    start = value = rng.randrange(UNIT, _MOST_START + UNIT, UNIT)
    panels = []
    for _ in range(steps):
        panels.append(rng.choice(rng.choice(fitting(value))))
        value = panels[-1].equations(value)[-1].result
    return Figure(start, tuple(panels))


def figures(split: str, seed: int) -> Iterator[Figure]:
    """Endless figures of one split, lengths in turn; equal arguments give equal figures.

    Raises:
        DataError: no such split.
    """
    if split not in SPLITS:
        raise DataError(f"figures has no split {split!r}; choose from {', '.join(SPLITS)}")
    rng = Random(f"{FIGURES}/{split}/{seed}")
    while True:
        for steps in LENGTHS:
            figure = draw_figure(rng, steps)
            while split_of(figure.key) != split:
                figure = draw_figure(rng, steps)
            yield figure


def generate(split: str, count: int, seed: int = 0) -> list[Figure]:
    """`count` figures of one split, deterministic by seed. Raises DataError: no such split."""
    stream = figures(split, seed)
    return [next(stream) for _ in range(count)]
