"""Every table of the lab: a pandas frame, out as Markdown to read, as CSV to compute with, as records for JSON."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd

__all__ = ["csv_text", "markdown", "records"]


def markdown(frame: pd.DataFrame) -> list[str]:
    """The lines of a Markdown table of the frame's cells, which are text."""
    rows = [tuple(frame.columns), *frame.itertuples(index=False, name=None)]
    header, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return [header, "|" + "---|" * len(frame.columns), *body]


def csv_text(frame: pd.DataFrame, digits: int | None = None) -> str:
    """The frame as CSV, numbers in full or with so many significant `digits`; what is missing is empty."""
    return frame.to_csv(index=False, lineterminator="\n", float_format=None if digits is None else f"%.{digits}g")


def records(frame: pd.DataFrame) -> list[dict[Hashable, object]]:
    """One mapping for each row; what is missing is None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")
