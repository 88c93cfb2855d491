"""Labelled truth: does evidence stand on the tokens that decide the answer, and does it point the right way?

A credited token's weight is exp(sign(A) Delta), so that Delta > 0 is praise and Delta < 0 blame. On a right
rollout every decisive token deserves praise. On a wrong rollout the first wrong decisive token and the decisive
tokens after it deserve blame; what came before was right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cepo.credit.evidence import clip_bounds
from cepo.lab.audit.metrics import Bools, Floats, Ints, auroc, average_precision, concatenated, ratio
from cepo.lab.audit.targets import Target

__all__ = ["MEASURES", "PROFILE_BINS", "Tokens", "gather_tokens", "measure_tokens", "profile"]

MEASURES: dict[str, str] = {
    "auroc": "probability that a decisive token has a larger |Delta| than a filler token",
    "ap": "average precision of |Delta| for decisive tokens; chance is the share of decisive tokens",
    "decisive_share": "share of decisive tokens",
    "contrast": "mean |Delta| of decisive tokens over mean |Delta| of filler tokens",
    "saturation_filler": "share of filler tokens whose weight is at the clip",
    "saturation_decisive": "share of decisive tokens whose weight is at the clip",
    "silent_filler": "share of filler tokens with Delta = 0",
    "sign_right": "right rollouts: share of decisive tokens with Delta > 0, of those with Delta != 0",
    "sign_wrong": "wrong rollouts: share of decisive tokens from the first wrong one on with Delta < 0, likewise",
    "sign_first_wrong": "wrong rollouts: share of first wrong decisive tokens with Delta < 0, likewise",
    "blame_before": "wrong rollouts: share of decisive tokens before the first wrong one with Delta < 0, likewise",
    "mass_right": "sign_right with each token weighing its |Delta|, clipped as the weight is",
    "mass_wrong": "sign_wrong with each token weighing its |Delta|, clipped as the weight is",
    "error_focus": "wrong rollouts: mean weight of first wrong tokens less the mean weight of all their other tokens",
}
"""Measure -> what it says."""

PROFILE_BINS = 10


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of many completions side by side, (N,) each.

    `problem_N`: index of the problem. `decisive_N`. `sign_N`: of the advantage. `praise_N`, `blame_N`: decisive
    tokens that deserve it. `first_N`: first wrong decisive tokens. `innocent_N`: decisive tokens before those.
    `place_N`: relative position in the completion, in [0, 1).
    """

    problem_N: Ints
    decisive_N: Bools
    sign_N: Floats
    praise_N: Bools
    blame_N: Bools
    first_N: Bools
    innocent_N: Bools
    place_N: Floats


def gather_tokens(targets: Sequence[Target]) -> Tokens:
    """The tokens of labelled targets, in order; lucky rollouts are for the caller to leave out.

    Raises:
        ValueError: a target without labels.
    """
    parts: list[tuple[NDArray[np.generic], ...]] = []
    for target in targets:
        if target.labels is None:
            raise ValueError(f"a completion of problem {target.problem} has no labels: {target.text[:80]!r}")
        count = len(target.ids)
        decisive_T, wrong_from = target.labels.decisive_T, target.labels.wrong_from
        place_T = np.arange(count)
        from_T = place_T >= (count if wrong_from is None or target.right else wrong_from)
        parts.append(
            (
                np.full(count, target.problem),
                decisive_T,
                np.full(count, 1.0 if target.right else -1.0),
                decisive_T & target.right,
                decisive_T & from_T,
                from_T & (place_T == wrong_from),
                decisive_T & ~from_T & (not target.right),
                place_T / count,
            )
        )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not columns:
        nothing = np.zeros(0)
        columns = [nothing.astype(np.int64), nothing.astype(bool), nothing, *[nothing.astype(bool)] * 4, nothing]
    return Tokens(*columns)  # pyright: ignore[reportArgumentType]


def measure_tokens(evidence: Sequence[Floats], tokens: Tokens, weight_RP: Floats, clip: float) -> dict[str, Floats]:
    """Every measure of `MEASURES`, (R,), for the evidence of the targets that `tokens` were gathered from."""
    evidence_N = concatenated(evidence)
    size_N, filler_N = np.abs(evidence_N), ~tokens.decisive_N
    low, high = clip_bounds(clip)
    signed_N = tokens.sign_N * evidence_N
    clipped_N = np.clip(signed_N, low, high)
    at_clip_N = (signed_N < low) | (signed_N > high)
    weight_N = np.exp(clipped_N)

    def share(event_N: Bools, among_N: Bools, mass_N: Floats | None = None) -> Floats:
        mass_N = np.ones(len(among_N)) if mass_N is None else mass_N
        return ratio(mass_N * (event_N & among_N), mass_N * among_N, tokens.problem_N, weight_RP)

    def mean(value_N: Floats, among_N: Bools) -> Floats:
        return ratio(value_N * among_N, among_N.astype(np.float64), tokens.problem_N, weight_RP)

    speaks_N = evidence_N != 0
    up_N, down_N, mass_N = evidence_N > 0, evidence_N < 0, np.abs(clipped_N)
    decisive = mean(size_N, tokens.decisive_N)
    filler = mean(size_N, filler_N)
    return {
        "auroc": auroc(size_N, tokens.decisive_N, tokens.problem_N, weight_RP),
        "ap": average_precision(size_N, tokens.decisive_N, tokens.problem_N, weight_RP),
        "decisive_share": share(tokens.decisive_N, np.ones_like(filler_N)),
        "contrast": np.divide(decisive, filler, out=np.full_like(filler, np.nan), where=filler > 0),
        "saturation_filler": share(at_clip_N, filler_N),
        "saturation_decisive": share(at_clip_N, tokens.decisive_N),
        "silent_filler": share(~speaks_N, filler_N),
        "sign_right": share(up_N, tokens.praise_N & speaks_N),
        "sign_wrong": share(down_N, tokens.blame_N & speaks_N),
        "sign_first_wrong": share(down_N, tokens.first_N & speaks_N),
        "blame_before": share(down_N, tokens.innocent_N & speaks_N),
        "mass_right": share(up_N, tokens.praise_N, mass_N),
        "mass_wrong": share(down_N, tokens.blame_N, mass_N),
        "error_focus": mean(weight_N, tokens.first_N) - mean(weight_N, (tokens.sign_N < 0) & ~tokens.first_N),
    }


def profile(evidence: Sequence[Floats], tokens: Tokens, weight_RP: Floats) -> list[dict[str, Floats]]:
    """For each tenth of the completion: mean |Delta| of its tokens, and of its decisive and its filler tokens."""
    size_N = np.abs(concatenated(evidence))
    bin_N = np.minimum((tokens.place_N * PROFILE_BINS).astype(np.int64), PROFILE_BINS - 1)
    found = []
    for index in range(PROFILE_BINS):
        among = {"all": bin_N == index}
        among |= {"decisive": among["all"] & tokens.decisive_N, "filler": among["all"] & ~tokens.decisive_N}
        found.append(
            {
                name: ratio(size_N * at_N, at_N.astype(np.float64), tokens.problem_N, weight_RP)
                for name, at_N in among.items()
            }
        )
    return found
