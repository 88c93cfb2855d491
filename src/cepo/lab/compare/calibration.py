"""Whether a comparison could show anything, and whether what a method gains is its evidence's: claims need both.

Power: an arm whose credit comes from a solver (`role: oracle`) is the most that credit can give here. Where it is not
shown above the baseline, in the area under the curve and at five seeds or more, a method without a difference has been
shown to be nothing, and one with a difference was lucky: the comparison is not used for claims. Without an oracle its
power is unknown.

Controls: a method whose gain is its evidence's is above each of its own controls, which have its numbers without their
place (`permuted`), its mean weights (`mass`), or weights at random (`random`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cepo.lab.compare.contrasts import ALPHA, Contrast, arm_contrasts, control_contrasts
from cepo.lab.compare.measures import AREA
from cepo.lab.compare.results import Results

__all__ = ["LEAST_SEEDS", "Calibration", "calibrate"]

LEAST_SEEDS = 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the calibrating arms say.

    Attributes:
        claims: whether the comparison may be used for claims; None: it has no oracle, its power is unknown.
        words: that as a sentence.
        against: every arm's area less the baseline's.
        controlled: every method's area less that of each of its controls.
        sources: a sentence for each method: whether its gain is its evidence's.
    """

    claims: bool | None
    words: str
    against: tuple[Contrast, ...]
    controlled: tuple[Contrast, ...]
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """As plain values for JSON."""
        return {
            "claims": self.claims,
            "words": self.words,
            "against": [contrast.to_dict() for contrast in self.against],
            "controlled": [contrast.to_dict() for contrast in self.controlled],
            "sources": list(self.sources),
        }


def calibrate(results: Results) -> Calibration:
    """Power from the oracles, and for each method what its controls leave of its gain."""
    against = arm_contrasts(results, AREA)
    controlled = control_contrasts(results, AREA)
    claims, words = _power(results, [one for one in against if results.role(one.arm) == "oracle"])
    methods = [one for one in against if results.role(one.arm) == "method"]
    sources = [_source(one, [other for other in controlled if other.arm == one.arm]) for one in methods]
    return Calibration(claims, words, tuple(against), tuple(controlled), tuple(filter(None, sources)))


def _power(results: Results, oracles: Sequence[Contrast]) -> tuple[bool | None, str]:
    other, seeds = results.baseline, len(results.seeds)
    if not oracles:
        return None, (
            "The power of this comparison is unknown: it has no oracle arm. That no difference is shown says nothing "
            "of the methods."
        )
    if lacking := [one for one in oracles if one.why_missing is not None]:
        return False, f"This bed has no power for claims yet: {lacking[0].arm}: {lacking[0].why_missing}."
    if seeds < LEAST_SEEDS:
        names = ", ".join(one.arm for one in oracles)
        return False, f"This bed has no power for claims yet: {seeds} seeds of {names}, and {LEAST_SEEDS} are needed."
    shown = [one for one in oracles if one.side == 1 and one.p_holm is not None and one.p_holm < ALPHA]
    if not shown:
        found = ", ".join(_stated(one.arm, one) for one in oracles)
        return False, (
            f"This bed has no power for claims: {found} is not shown above {other}. Where credit from a solver does "
            "not separate, no method's credit can."
        )
    found = ", ".join(_stated(one.arm, one) for one in shown)
    return True, f"This bed has power for claims: {found} is above {other}, at {seeds} seeds."


def _source(against: Contrast, controlled: Sequence[Contrast]) -> str | None:
    """Whether a gain is the evidence's; None: there is no gain to explain."""
    arm, other = against.arm, against.other
    if against.side != 1:
        return None
    if not controlled:
        return f"{arm} has no controls: whether its gain over {other} is better credit or less of it is not known."
    level = [one for one in controlled if one.side != 1]
    found = ", ".join(_stated(one.other, one) for one in level or controlled)
    if level:
        return (
            f"{arm} is above {other}, but not shown above its own control {found}: its gain is not shown to come from "
            "where its evidence lies."
        )
    return f"{arm} is above {other}, and above each of its own controls: {found}."


def _stated(name: str, contrast: Contrast) -> str:
    """`oracle (+8.0 [+5.1, +10.9] points of area)`."""
    if contrast.verdict is None:
        return f"{name} ({contrast.why_missing})"
    return f"{name} ({contrast.verdict.estimate.text(sign=True)} {contrast.unit})"
