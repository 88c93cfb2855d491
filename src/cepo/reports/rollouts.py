"""Credit records as the plain data that the page, its twin and the histograms are made of."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from cepo.reports.recompute import METHODS, recompute, why_unscored
from cepo.traces import CreditRecord, read_traces

__all__ = ["BIN", "STREAMS", "WIDEST", "departures", "evidence_histogram", "read_images", "read_records", "rollout"]

STREAMS = ("tokens", "student", "plus", "minus")
"""Entries of a rollout with one value per token; the page parses them when the rollout is looked at."""

BIN = 0.1
WIDEST = 3.0
"""Nats: histograms of evidence go from -WIDEST to WIDEST in steps of BIN, the ends open."""

LARGEST_IMAGE = 640  # pixels: a page with hundreds of photographs must still open at once
DECIMALS = 4
AGREE = 1e-3  # nats: records are rounded to 5 decimals


def read_records(folder: Path, note: Callable[[str], None]) -> list[CreditRecord]:
    """All records of `folder` that can be read; what is broken is told to `note` in one sentence each."""
    records: list[CreditRecord] = []
    damaged: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            records.extend(read_traces(folder, damaged=damaged.append))
        except (ValueError, OSError) as error:
            note(f"{error}")
    if damaged:
        lines = "1 line that cannot be read is" if len(damaged) == 1 else f"{len(damaged)} lines that cannot be read are"
        note(f"{lines} left out; the first: {damaged[0]}")
    for warning in told:
        note(str(warning.message))
    return records


def rollout(record: CreditRecord, dead_zone: float) -> dict[str, Any]:
    """One record for the page; `peak` is its largest |evidence| in nats under the run's own method."""
    return {
        "step": record.step, "group": record.group, "row": record.row, "id": record.problem_id,
        "method": record.method, "prompt": record.prompt_text, "image": record.image,
        "base": _number(record.base_advantage), "reward": _number(record.reward), "correct": record.correct,
        "answer": record.answer, "gold": record.gold, "rplus": record.r_plus, "rminus": list(record.r_minus),
        "plusSource": record.plus_source, "source": record.minus_source, "strength": _number(record.strength),
        "clip": _number(record.clip), "deadZone": dead_zone, "length": len(record.tokens),
        "peak": _peak(record, dead_zone), "unscored": _unscored(record), "tokens": record.tokens,
        "student": _numbers(record.logp_student), "plus": _numbers(record.logp_plus),
        "minus": _numbers(record.logp_minus),
    }  # fmt: skip


def _unscored(record: CreditRecord) -> dict[str, str]:
    # One token is enough to know, and 2,000 rollouts are to open at once.
    probe = replace(record, **{name: (getattr(record, name) or [])[:1] for name in ("tokens", "token_ids")},
                    **{name: _first(getattr(record, name)) for name in _LISTS})  # fmt: skip
    return {method: why_unscored(record, method) for method in METHODS if recompute(probe, method) is None}


_LISTS = ("logp_student", "logp_plus", "logp_minus", "evidence", "weight", "advantage")


def _first(values: Any) -> Any:
    return values[:1] if isinstance(values, list) else values


def _peak(record: CreditRecord, dead_zone: float) -> float | None:
    """Largest |evidence| under the run's own method, else under CEPO or RLSD, whichever was scored."""
    for method in dict.fromkeys((record.method, "cepo", "rlsd")):
        credit = recompute(record, method, dead_zone) if method in ("cepo", "rlsd") else None
        if credit is not None:
            finite = [abs(delta) for delta in credit.evidence if math.isfinite(delta)]
            return round(max(finite, default=0.0), DECIMALS)
    return None


def _numbers(values: list[float] | None) -> list[float | str] | None:
    return None if values is None else [_number(value) for value in values]


def _number(value: float) -> float | str:
    """Rounded; a number that JSON cannot hold becomes the word that the traces use as well."""
    return round(value, DECIMALS) if math.isfinite(value) else str(value)


def departures(records: Sequence[CreditRecord], dead_zones: Sequence[float]) -> int:
    """How many credited records hold other evidence than their log-probs give under their own method."""
    count = 0
    for record, dead_zone in zip(records, dead_zones, strict=True):
        credit = recompute(record, record.method, dead_zone) if record.method in METHODS else None
        if credit is not None and record.evidence is not None:
            pairs = zip(credit.evidence, record.evidence, strict=True)
            count += any(abs(a - b) > AGREE for a, b in pairs)
    return count


def evidence_histogram(records: Sequence[CreditRecord]) -> dict[str, list[int]]:
    """Recorded tokens by evidence in bins of BIN nats, apart by the sign of the rollout's advantage."""
    bins = round(2 * WIDEST / BIN)
    counts = {"positive": [0] * bins, "negative": [0] * bins}
    for record in records:
        if record.evidence is None or record.base_advantage == 0:
            continue
        kind = counts["positive" if record.base_advantage > 0 else "negative"]
        for delta in record.evidence:
            if not math.isnan(delta):
                inside = min(max(delta, -WIDEST), WIDEST)
                kind[min(math.floor((inside + WIDEST) / BIN + 1e-9), bins - 1)] += 1
    return counts


def read_images(folder: Path, names: Sequence[str], note: Callable[[str], None]) -> dict[str, str]:
    """The images as data URLs by name; those outside of `folder`, missing or broken are told to `note`."""
    images: dict[str, str] = {}
    missing: list[str] = []
    for name in names:
        path = (folder / name).resolve()
        try:
            if not path.is_relative_to(folder.resolve()):
                raise OSError("outside of the trace's folder")
            images[name] = "data:image/png;base64," + base64.b64encode(_png(path)).decode("ascii")
        except (OSError, ValueError, Image.DecompressionBombError):
            missing.append(name)
    if missing:
        which = f"image {missing[0]} is" if len(missing) == 1 else f"{len(missing)} images are"
        note(f"{which} missing or unreadable{'' if len(missing) == 1 else f'; the first: {missing[0]}'}")
    return images


def _png(path: Path) -> bytes:
    """The file re-encoded: what reaches the page is an image, whatever the file was."""
    with Image.open(path) as image:
        image.thumbnail((LARGEST_IMAGE, LARGEST_IMAGE))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
