"""Chains of dependent steps: which there are, which split a chain belongs to, and how they are named in a recipe.

A chain starts at a digit and adds or subtracts digits, each result counted modulo ten. Every step needs the one before
it, so that one wrong step spoils the answer, and the number of decisive tokens is the number of steps.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from cepo.chain.marks import Mark
from cepo.errors import DataError, did_you_mean

__all__ = ["BASE", "CHAIN", "SPLITS", "Chain", "ChainSpec", "Operation", "Split", "chains", "generate", "split_of"]

CHAIN = "chain"
"""The data path that means chains, alone or followed by `:steps=..,fillers=..`."""
BASE = 10
"""Values are counted modulo ten: each is one digit."""

Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")
Sign = Literal["+", "-"]

_KEY = re.compile(r"(\d)((?:[+-]\d)+)")
_NUMBER = re.compile(r"\d+")
_OPERATORS = frozenset("+-*/")
_MOST = {"steps": 12, "fillers": 6}


@dataclass(frozen=True, slots=True)
class Operation:
    """One step: add or subtract a digit, modulo ten."""

    sign: Sign
    operand: int

    def __call__(self, value: int) -> int:
        return (value + (self.operand if self.sign == "+" else -self.operand)) % BASE


@dataclass(frozen=True, slots=True)
class Chain:
    """A problem: the digit to start from, and what to do with it in order."""

    start: int
    operations: tuple[Operation, ...]

    @property
    def key(self) -> str:
        """The chain in short, as `7+3-5`: what makes two problems the same one."""
        return f"{self.start}{''.join(f'{step.sign}{step.operand}' for step in self.operations)}"

    @classmethod
    def parse(cls, key: str) -> Chain:
        """The chain of a key. Raises DataError: no such key."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise DataError(f"{key!r} is no chain: write a digit and then + or - and a digit for each step, as 7+3-5")
        steps = match.group(2)
        pairs = zip(steps[::2], steps[1::2], strict=True)
        return cls(int(match.group(1)), tuple(Operation("+" if sign == "+" else "-", int(d)) for sign, d in pairs))

    @property
    def values(self) -> tuple[int, ...]:
        """The right value after each step."""
        found, value = [], self.start
        for step in self.operations:
            value = step(value)
            found.append(value)
        return tuple(found)

    @property
    def answer(self) -> int:
        return self.values[-1]

    @property
    def length(self) -> int:
        """How many steps there are."""
        return len(self.operations)

    def marks(self, text: str, end: int) -> list[Mark]:
        """The numbers before character `end`: the values of the steps in order, except for operands.

        Operands are numbers with + - * / beside them.
        """
        found: list[Mark] = []
        rights = self.values
        for match in _NUMBER.finditer(text, 0, end):
            if _is_operand(text, match.start(), match.end()):
                continue
            step = len(found)
            is_right = step < len(rights) and match.group() == str(rights[step])
            found.append(Mark(match.start(), match.end(), is_right, step))
        return found


def _is_operand(text: str, start: int, end: int) -> bool:
    before, after = text[:start].rstrip()[-1:], text[end:].lstrip()[:1]
    return before in _OPERATORS or after in _OPERATORS


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """Which chains.

    Attributes:
        steps: dependent steps of a chain, 1 to 12.
        fillers: words and marks of a worked solution's step beside its value, 1 to 6, each with four synonyms.
        problems: distinct chains; more rows repeat them in order. None: as many as there are rows.
    """

    steps: int = 6
    fillers: int = 3
    problems: int | None = None

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise DataError(f"chain: {name} must be 1 to {most}, got {getattr(self, name)}")
        if self.problems is not None and self.problems < 1:
            raise DataError(f"chain: problems must be at least 1, got {self.problems}")

    @classmethod
    def parse(cls, path: str) -> ChainSpec:
        """Of a data path: `chain`, or `chain:steps=4,fillers=3`. Raises DataError: a field or value that is none."""
        given: dict[str, int] = {}
        for part in filter(None, path.removeprefix(CHAIN).removeprefix(":").split(",")):
            name, _, value = part.partition("=")
            if name not in cls.__slots__:
                near = did_you_mean(name, cls.__slots__)
                raise DataError(f"{path}: unknown field {name!r}; choose from {', '.join(cls.__slots__)}{near}")
            if name in given:
                raise DataError(f"{path}: {name} is given twice")
            if not value.isdecimal():
                raise DataError(f"{path}: {name} must be a whole number, got {value!r}")
            given[name] = int(value)
        return cls(**given)


def is_chain(path: str) -> bool:
    """Whether a data path means chains."""
    return path == CHAIN or path.startswith(f"{CHAIN}:")


def split_of(key: str) -> Split:
    """The split that a chain belongs to, for ever: a hash of its key, 80/10/10.

    No seed and no order enters, so train, validation and held-out cannot share a chain.
    """
    bucket = hashlib.sha256(f"{CHAIN}/{key}".encode()).digest()[0] % 10
    return "held_out" if bucket == 0 else "validation" if bucket == 1 else "train"


def chains(split: str, seed: int, steps: int) -> Iterator[Chain]:
    """Endless chains of one split, uniformly drawn; equal arguments give equal chains. Raises DataError: no such split.

    Of few steps there are few chains (200 of one step), and they come again.
    """
    if split not in SPLITS:
        raise DataError(f"chain has no split {split!r}; choose from {', '.join(SPLITS)}")
    rng = Random(f"{CHAIN}/{split}/{steps}/{seed}")
    while True:
        chain = draw(rng, steps)
        if split_of(chain.key) == split:
            yield chain


def draw(rng: Random, steps: int, operands: int = BASE) -> Chain:
    """A chain of any split, uniformly drawn from those with operands below `operands`."""
    operations = tuple(Operation(rng.choice(("+", "-")), rng.randrange(operands)) for _ in range(steps))
    return Chain(rng.randrange(BASE), operations)


def generate(split: str, spec: ChainSpec, count: int, seed: int = 0) -> list[Chain]:
    """`count` chains of one split, deterministic by seed.

    Raises:
        DataError: an unknown split, or more distinct chains asked for than there can be found.
    """
    stream = chains(split, seed, spec.steps)
    if spec.problems is None:
        return [next(stream) for _ in range(count)]
    found: dict[str, Chain] = {}
    for _ in range(100 * spec.problems):
        chain = next(stream)
        found.setdefault(chain.key, chain)
        if len(found) == spec.problems:
            break
    else:
        raise DataError(f"there are no {spec.problems} distinct chains of {spec.steps} steps in the split {split!r}")
    pool = list(found.values())
    return [pool[index % len(pool)] for index in range(count)]
