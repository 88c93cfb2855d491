"""Double-loop float64 twins of `cepo.credit`: no tensors, no broadcasting, formulas as the paper writes them."""

import math

Row = list[float]
Rows = list[list[float]]
Told = dict[str, list[Row] | None]
"""Prompt -> log-probs under each of its references; None: there is no reference, and the student's stand in."""


def evidence(logp_plus: Rows, logp_minus: Rows, mask: Rows) -> Rows:
    out = []
    for b in range(len(mask)):
        row = []
        for t in range(len(mask[b])):
            plus, minus = logp_plus[b][t], logp_minus[b][t]
            row.append(0.0 if not mask[b][t] or plus == minus else plus - minus)
        out.append(row)
    return out


def finite_rows(logp: Rows, mask: Rows) -> list[bool]:
    return [all(math.isfinite(x) for x, m in zip(*rows, strict=True) if m) for rows in zip(logp, mask, strict=True)]


def marginal_logp(logp: list[Rows], valid: list[list[bool]]) -> Rows:
    """logp[k][b][t], valid[k][b]."""
    out = []
    for b in range(len(logp[0])):
        row = []
        for t in range(len(logp[0][b])):
            probs = [math.exp(logp[k][b][t]) for k in range(len(logp)) if valid[k][b]]
            mean = sum(probs) / len(probs)
            row.append(math.log(mean) if mean > 0 else -math.inf)
        out.append(row)
    return out


def dead_zone(rows: Rows, threshold: float) -> Rows:
    return [[math.copysign(max(abs(d) - threshold, 0.0), d) for d in row] for row in rows]


def weights(advantage: Row, delta: Rows, mask: Rows, clip: float) -> Rows:
    """clip(exp(sign(A) Delta), 1 - eps_w, 1 + eps_w): clipped after the exponential, unlike ours."""
    out = []
    for b in range(len(advantage)):
        row = []
        for t in range(len(delta[b])):
            if not mask[b][t] or advantage[b] == 0:
                row.append(1.0)
                continue
            exponent = delta[b][t] if advantage[b] > 0 else -delta[b][t]
            row.append(min(max(math.exp(min(exponent, 700.0)), 1.0 - clip), 1.0 + clip))
        out.append(row)
    return out


def multiplier(advantage: Row, delta: Rows, mask: Rows, strength: float, clip: float) -> Rows:
    return [[(1 - strength) + strength * w for w in row] for row in weights(advantage, delta, mask, clip)]


def modulate(advantage: Row, delta: Rows, mask: Rows, strength: float, clip: float) -> Rows:
    factors = multiplier(advantage, delta, mask, strength, clip)
    return [[advantage[b] * factor for factor in factors[b]] for b in range(len(advantage))]


def linear_decay(step: int, start: float, decay_steps: int) -> float:
    """Walks there: one decrement per step, stopping at 0."""
    remaining = decay_steps
    for _ in range(step - 1):
        remaining = max(0, remaining - 1)
    return start * remaining / decay_steps


def credit_metrics(
    advantage: Row, delta: Rows, mask: Rows, credited: list[bool], strength: float, clip: float
) -> dict[str, float]:
    """Metrics straight from lists of tokens, without any sufficient statistics."""
    factors = multiplier(advantage, delta, mask, strength, clip)
    tokens = [  # (A, Delta, multiplier) of each credited token
        (advantage[b], delta[b][t], factors[b][t])
        for b in range(len(advantage))
        for t in range(len(delta[b]))
        if credited[b] and mask[b][t]
    ]
    metrics: dict[str, float] = {}
    if not tokens:
        return metrics
    for suffix, side in (("pos", 1), ("neg", -1)):
        finite = [d for a, d, _ in tokens if a * side > 0 and math.isfinite(d)]
        if finite:
            mean = _mean(finite)
            metrics[f"credit/evidence_mean_{suffix}"] = mean
            metrics[f"credit/evidence_std_{suffix}"] = math.sqrt(_mean([(d - mean) ** 2 for d in finite]))
            metrics[f"credit/evidence_abs_mean_{suffix}"] = _mean([abs(d) for d in finite])
    low, high = math.log(1 - clip), math.log(1 + clip)
    signed = [0.0 if a == 0 else math.copysign(1, a) * d for a, d, _ in tokens]
    metrics["credit/clip_low"] = _mean([float(x < low) for x in signed])
    metrics["credit/clip_high"] = _mean([float(x > high) for x in signed])
    metrics["credit/multiplier_mean"] = _mean([m for _, _, m in tokens])
    metrics["credit/tokens_positive"] = _mean([float(d > 0) for _, d, _ in tokens])
    metrics["credit/tokens_negative"] = _mean([float(d < 0) for _, d, _ in tokens])
    metrics["credit/tokens_zero"] = _mean([float(d == 0) for _, d, _ in tokens])
    metrics["credit/tokens_nonfinite"] = _mean([float(not math.isfinite(d)) for _, d, _ in tokens])
    return metrics


def assign(
    method: str, told: list[Told], student: Rows, advantage: Row, mask: Rows, strength: float, clip: float
) -> list[Row | None]:
    """CEPO's and RLSD's token advantages, row by row; None: a log-prob is not finite, and the row has no credit."""
    first, second = {"cepo": ("plus", "minus"), "rlsd": ("plus", "student")}[method]
    out: list[Row | None] = []
    for b in range(len(advantage)):
        row: Row = []
        for t in range(len(mask[b])):
            logps = []
            for prompt in (first, second):
                texts = None if prompt == "student" else told[b][prompt]
                logps.append(student[b][t] if texts is None else _log_mean([text[t] for text in texts]))
            if mask[b][t] and not all(map(math.isfinite, logps)):
                row = []
                break
            delta = logps[0] - logps[1] if mask[b][t] else 0.0
            weight = min(max(math.exp(delta if advantage[b] > 0 else -delta), 1 - clip), 1 + clip)
            row.append(advantage[b] * ((1 - strength) + strength * (weight if mask[b][t] else 1.0)))
        out.append(row or None)
    return out


def _log_mean(logps: Row) -> float:
    if not all(map(math.isfinite, logps)):
        return math.nan
    return math.log(sum(map(math.exp, logps)) / len(logps))


def _mean(values: Row) -> float:
    return math.fsum(values) / len(values) if values else 0.0
