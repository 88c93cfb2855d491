"""Chains in words: the question, and worked solutions in which every value stands among filler words.

    Count modulo ten from 7, then add 3, then subtract 5.
    then gives 0, now makes 5; \\boxed{5}

The filler words are drawn, each from four synonyms with equal probability: they have entropy as a real model's wording
has, and say nothing about the answer. A step of the question is four tokens long, as a step with three fillers is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from cepo.chain.problems import Chain

__all__ = ["SYNONYMS", "filler_pieces", "question", "solution", "words"]

_CONNECTIVES = ("then", "next", "now", "so")
_ADVERBS = ("clearly", "surely", "plainly", "simply")
_PLACES = ("here", "there", "thus", "again")
_PRONOUNS = ("this", "that", "it", "which")
_VERBS = ("gives", "makes", "yields", "leaves")
_MARKS = (",", ";", ":", ".")

SYNONYMS: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (),
    2: (_VERBS,),
    3: (_CONNECTIVES, _VERBS),
    4: (_CONNECTIVES, _PRONOUNS, _VERBS),
    5: (_CONNECTIVES, _PRONOUNS, _ADVERBS, _VERBS),
    6: (_CONNECTIVES, _PLACES, _PRONOUNS, _ADVERBS, _VERBS),
}
"""Fillers of a step -> the synonyms of each word before its value; a mark after it is the last filler."""
_VERB_OF = {"+": "add", "-": "subtract"}


def question(chain: Chain) -> str:
    """What is asked, without the instruction to box the answer."""
    steps = "".join(f", then {_VERB_OF[step.sign]} {step.operand}" for step in chain.operations)
    return f"Count modulo ten from {chain.start}{steps}."


def solution(values: Sequence[int], fillers: int, rng: Random) -> str:
    """A worked solution that goes through `values`, right or wrong, and boxes the last."""
    steps = []
    for value in values:
        before = "".join(f"{rng.choice(synonyms)} " for synonyms in SYNONYMS[fillers])
        steps.append(f"{before}{value}{rng.choice(_MARKS)} ")
    return f"{''.join(steps)}\\boxed{{{values[-1]}}}"


def filler_pieces() -> Iterator[str]:
    """Every filler as it stands in a solution, the space behind it included."""
    yield from (f"{filler} " for synonyms in (*SYNONYMS[6], _MARKS) for filler in synonyms)


def words() -> Iterator[str]:
    """Texts with every word, mark and digit of questions and solutions, for a vocabulary."""
    yield "Count modulo ten from 0, then add 1, then subtract 2."
    yield from filler_pieces()
    yield "0123456789\\boxed{}"
