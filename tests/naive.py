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


def _std(values: Row) -> float:
    mean = _mean(values)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)) if len(values) > 1 else 0.0


# --- rules ---------------------------------------------------------------------------------------------------


def weighed(advantage: Row, weight: Rows, mask: Rows, strength: float) -> Rows:
    """A ((1 - lambda) + lambda w); A outside the mask."""
    out = []
    for b in range(len(advantage)):
        row = []
        for t in range(len(mask[b])):
            w = weight[b][t] if mask[b][t] else 1.0
            row.append(advantage[b] * ((1 - strength) + strength * w))
        out.append(row)
    return out


def added(advantage: Row, shift: Rows, mask: Rows, keep_sign: bool = False, where_equal: bool = False) -> Rows:
    """A + shift; A outside the mask, and (unless where_equal) where it is 0."""
    out = []
    for b in range(len(advantage)):
        row = []
        for t in range(len(mask[b])):
            moves = mask[b][t] and (advantage[b] != 0 or where_equal)
            total = advantage[b] + (shift[b][t] if moves else 0.0)
            row.append(0.0 if keep_sign and total * advantage[b] < 0 else total)
        out.append(row)
    return out


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def scaled_weights(advantage: Row, mask: Rows, praise: float, blame: float) -> Rows:
    return [[praise if a > 0 else blame for _ in row] for a, row in zip(advantage, mask, strict=True)]


def score_weights(advantage: Row, scores: Rows, clip: float, form: str, scale: float) -> Rows:
    out = []
    for b in range(len(scores)):
        row = []
        for t in range(len(scores[b])):
            s = scale * scores[b][t]
            quality = min(1.0, max(-1.0, sign(advantage[b]) * s))
            row.append(max(0.0, s) if form == "weight" else 1 + clip * quality)
        out.append(row)
    return out


def value_shift(advantage: Row, scores: Rows, mask: Rows, pass_rate: Row, deviation: Row, form: str) -> Rows:
    """Walks over the row's own tokens with the last value in hand."""
    out = []
    for b in range(len(scores)):
        own = [t for t in range(len(mask[b])) if mask[b][t]]
        row = [0.0] * len(mask[b])
        before = pass_rate[b]
        for t in own:
            goal = scores[b][t] if form == "difference" else scores[b][own[-1]]
            row[t] = (goal - before) / (deviation[b] + 1e-4) - advantage[b]
            before = scores[b][t]
        out.append(row)
    return out


def focused_weights(advantage: Row, delta: Rows, mask: Rows, cap: float, least: float) -> Rows:
    out = []
    for b in range(len(delta)):
        agrees = [max(0.0, sign(advantage[b]) * d) if m else 0.0 for d, m in zip(delta[b], mask[b], strict=True)]
        count = sum(1 for m in mask[b] if m)
        if math.fsum(agrees) < least:
            out.append([1.0] * len(agrees))
        else:
            out.append([min(cap, e * count / math.fsum(agrees)) for e in agrees])
    return out


def decisive_weights(advantage: Row, delta: Rows, mask: Rows, eps: float) -> Rows:
    """Praise by the share of P+ that P- lacks; blame by walking with the odds that the row is still right in hand."""
    out = []
    for b in range(len(delta)):
        row, odds = [], 1.0
        for t in range(len(delta[b])):
            if advantage[b] > 0:
                row.append(1 + eps * (1 - 1 / math.exp(delta[b][t])) if delta[b][t] > 0 else 1.0)
                continue
            fallen = odds / math.exp(max(0.0, -delta[b][t])) if mask[b][t] else odds
            row.append((1 - eps) * (1 - (odds - fallen)) + (1 + eps) * (odds - fallen))
            odds = fallen
        out.append(row)
    return out


def posterior_shift(
    delta: Rows, mask: Rows, pass_rate: Row, verdict: list[bool], deviation: Row, size: list[int]
) -> Rows:
    """-(G - 1)/G (V_{t-1} - V_0) / (std + 1e-4), with V by its odds."""
    out = []
    for b in range(len(delta)):
        G = size[b]
        start = (G * pass_rate[b] - (1 if verdict[b] else 0)) / (G - 1)
        start = min(max(start, 0.5 / G), 1 - 0.5 / G)
        row, seen = [], 0.0
        for t in range(len(delta[b])):
            odds = start / (1 - start) * math.exp(min(8.0, max(-8.0, seen)))
            row.append(-(G - 1) / G * (odds / (1 + odds) - start) / (deviation[b] + 1e-4))
            seen += delta[b][t] if mask[b][t] else 0.0
        out.append(row)
    return out


def times(strength: float, shift: Rows) -> Rows:
    return [[strength * x for x in row] for row in shift]


def rlcsd_advantages(
    advantage: Row, delta: Rows, mask: Rows, strength: float, options: tuple[float, float, float, bool, float]
) -> Rows:
    """Token by token, as the paper's code does it, then (two_means) each row's two means."""
    tau, beta, delta_least, two_means, eta = options
    out = []
    for b in range(len(delta)):
        row, chosen = [], []
        for t in range(len(delta[b])):
            r = min(2.0, max(-2.0, beta * strength * math.tanh(delta[b][t] / tau)))
            selected = bool(mask[b][t]) and abs(r) > delta_least
            chosen.append(selected)
            if not selected or advantage[b] == 0:
                row.append(advantage[b])
            elif advantage[b] > 0:
                row.append(max(0.0, advantage[b] + r))
            else:
                row.append(min(0.0, advantage[b] + r))
        own = [t for t in range(len(row)) if mask[b][t]]
        picked = [t for t in own if chosen[t]]
        if two_means and picked:
            rest = len(own) - len(picked)
            for t in own:
                row[t] *= eta * len(own) / len(picked) if chosen[t] else len(own) / rest
        out.append(row)
    return out


def prob_mask_weights(student: Rows, sure: float) -> Rows:
    return [[0.0 if p >= math.log(sure) else 1.0 for p in row] for row in student]


def distilled_weights(advantage: Row, delta: Rows, mask: Rows, ratio: float) -> Rows:
    out = []
    for b in range(len(delta)):
        rho = [min(ratio, max(1 / ratio, math.exp(d))) for d in delta[b]]
        kept = [r for r, m in zip(rho, mask[b], strict=True) if m]
        mean = math.prod(kept) ** (1 / len(kept)) if kept else 1.0
        out.append([r / mean if advantage[b] > 0 else 1.0 for r in rho])
    return out


def mean_weight(advantage: Row, given: Rows, mask: Rows, side: int) -> float:
    """sum A_hat / sum A over the tokens of one sign."""
    tokens = [
        (given[b][t], advantage[b])
        for b in range(len(advantage))
        for t in range(len(mask[b]))
        if mask[b][t] and sign(advantage[b]) == side
    ]
    return math.fsum(a for a, _ in tokens) / math.fsum(a for _, a in tokens)
