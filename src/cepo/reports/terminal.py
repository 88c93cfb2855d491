"""`cepo show`: one rollout's tokens in the terminal, coloured by their credit."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cepo.reports.recompute import recompute, shown_methods
from cepo.reports.traces import CreditRecord, read_traces

__all__ = ["find_record", "printable", "show_record"]

By = Literal["evidence", "weight", "advantage"]
STRONGEST = 3


def find_record(folder: Path, row: int, step: int | None) -> CreditRecord:
    """The record of a row at a step (default: the first step that has it).

    Raises:
        ValueError: no such record; it says which there are.
    """
    steps: dict[int, list[int]] = {}
    for record in read_traces(folder / "traces"):
        if record.row == row and step in (None, record.step):
            return record
        steps.setdefault(record.step, []).append(record.row)
    there = "; ".join(f"step {s}: rows {', '.join(map(str, rows))}" for s, rows in list(steps.items())[:STRONGEST])
    raise ValueError(f"{folder} has no record of row {row}{'' if step is None else f' at step {step}'}. {there} ...")


def printable(token: str) -> str:
    """Untrusted text for a terminal: line ends, control, bidi and half characters as visible symbols."""
    shown = []
    for character in token:
        if character == "\n":
            shown.append("\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\n")
        elif character == "\t" or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            shown.append(f"<{ord(character):04X}>")
        else:
            shown.append(character)
    return "".join(shown)


def show_record(record: CreditRecord, by: By, console: Console) -> None:
    """The rollout under each method, tokens coloured: blue where the number is high, orange where it is low."""
    verdict = {True: "right", False: "wrong", None: "not graded"}[record.correct]
    minus = " | ".join(record.r_minus) or f"none ({record.minus_source})"
    console.print(Text(f"step {record.step}, row {record.row}, group {record.group}: {printable(record.problem_id)}"))
    console.print(
        Text(f"{verdict}, reward {record.reward:g}, A = {record.base_advantage:+.3f}, lambda {record.strength:g}")
    )
    console.print(Text(f"r+ = {printable(str(record.r_plus))}    r- = {printable(minus)}\n"))
    for method in shown_methods(record):
        credit = recompute(record, method)
        if credit is None:
            console.print(Text(f"{printable(method):5s} not scored\n", style="dim"))
            continue
        values = getattr(credit, by)
        neutral = {"evidence": 0.0, "weight": 1.0, "advantage": record.base_advantage}[by]
        largest = max((abs(value - neutral) for value in values), default=0.0) or 1.0
        line = Text(f"{printable(method):5s} ")
        for token, value in zip(record.tokens, values, strict=True):
            line.append(printable(token), style=_style((value - neutral) / largest))
        console.print(line, "")
    _strongest(record, console)


def _style(share: float) -> str:
    """Blue above, orange below, underlined too, so that colour is not all there is."""
    if abs(share) < 0.05:
        return ""
    level = int(60 + 195 * min(abs(share), 1.0))
    return f"bold rgb({level // 4},{level // 2},{level})" if share > 0 else f"underline rgb({level},{level // 2},0)"


def _strongest(record: CreditRecord, console: Console) -> None:
    first = shown_methods(record)[0]
    credit = recompute(record, first)
    if credit is None:
        return
    table = Table(
        "position", "token", "evidence", "weight", "advantage", title=f"strongest evidence ({printable(first)})"
    )
    order = sorted(range(len(record.tokens)), key=lambda t: -abs(credit.evidence[t]))
    for t in order[: 2 * STRONGEST]:
        numbers = (f"{values[t]:+.3f}" for values in (credit.evidence, credit.weight, credit.advantage))
        table.add_row(str(t), Text(printable(record.tokens[t])), *numbers)
    console.print(table)
