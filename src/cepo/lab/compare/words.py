"""What the intervals support, in a sentence. No number here comes from anywhere but a `Contrast`."""

from __future__ import annotations

from cepo.lab.compare.contrasts import Contrast

__all__ = ["in_words", "p_text"]

ALPHA = 0.05
LEAST = 0.001
"""Smaller p-values are shown as smaller than this."""


def in_words(contrast: Contrast) -> str:
    """One comparison as a sentence: above, below, or no difference shown; in points of 100.

    A difference is shown where the 95% interval over seeds and problems excludes 0. Where the p-value adjusted
    for the number of comparisons does not stay below 0.05, the sentence says that it does not survive.
    """
    difference = contrast.verdict
    if difference is None:
        return f"nothing can be said of {contrast.arm} and {contrast.other}: {contrast.why_missing}."
    interval = f"[{_signed(difference.low)}, {_signed(difference.high)}]"
    p = f"p {'=' if difference.p >= LEAST else '<'} {max(difference.p, LEAST):.2g}"
    if contrast.p_holm is not None and contrast.p_holm != difference.p:
        p += f", {p_text(contrast.p_holm)} after Holm"
    alone = "" if contrast.both else " One seed: this holds for this pair of runs, not for the methods."
    if difference.low <= 0.0 <= difference.high:
        return (
            f"no difference shown between {contrast.arm} and {contrast.other}: {_signed(difference.mean)} points, and "
            f"the interval {interval} holds 0 ({p}).{alone}"
        )
    side = "above" if difference.mean > 0 else "below"
    doubt = ""
    if contrast.p_holm is not None and contrast.p_holm >= ALPHA:
        doubt = " It does not survive the correction for the number of comparisons."
    return (
        f"{contrast.arm} is {side} {contrast.other} by {abs(100 * difference.mean):.1f} points {interval} ({p})."
        f"{doubt}{alone}"
    )


def p_text(p: float) -> str:
    """Two digits, or `<0.001`: no p-value is 0."""
    return f"{p:.2g}" if p >= LEAST else f"<{LEAST}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}"
