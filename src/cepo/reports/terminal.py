"""`cepo show`: one rollout's tokens in the terminal, coloured by their credit."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cepo.errors import RecordError
from cepo.glossary import Told
from cepo.reports.records import CreditRecord
from cepo.reports.traces import read_traces
from cepo.reports.turns import turns_of

__all__ = ["By", "find_record", "printable", "show_record"]

By = Literal["evidence", "weight", "advantage"]
STEPS_LISTED = 3
STRONGEST = 6
_REFERENCE = {"plus": "r+", "minus": "r-"}
_PROMPT = {"student": "log P_S", "plus": "log P+", "minus": "log P-"}
_ENDS = {
    "evidence": ("below 0 nats", "above 0"),
    "weight": ("below 1", "above 1"),
    "advantage": ("below A", "above A"),
}


def find_record(folder: Path, row: int, step: int | None) -> CreditRecord:
    """The record of a row at a step (default: the first step that has it).

    Raises:
        RecordError: no such record; it says which there are.
    """
    steps: dict[int, list[int]] = {}
    for record in read_traces(folder / "traces"):
        if record.row == row and step in (None, record.step):
            return record
        steps.setdefault(record.step, []).append(record.row)
    listed = list(steps.items())[:STEPS_LISTED]
    there = "; ".join(f"step {s}: rows {', '.join(map(str, rows))}" for s, rows in listed)
    raise RecordError(f"{folder} has no record of row {row}{'' if step is None else f' at step {step}'}. {there} ...")


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
    """What was recorded of the rollout: the references, the tokens coloured by their credit, the strongest of them."""
    console.print(Text("\n".join(map(printable, _facts(record)))))
    values = _credit(record).get(by)
    line = Text()
    if values is None:
        console.print(Text(f"\n{_why_not(record, by)}\n", style="dim"))
        line.append("".join(map(printable, record.tokens)))
    else:
        neutral = _neutral(record, by)
        largest = max((abs(value - neutral) for value in values), default=0.0) or 1.0
        low, high = _ENDS[by]
        console.print(Text.assemble(f"\n{by}: ", (low, _style(-1.0)), ", ", (high, _style(1.0)), "\n"))
        for token, value in zip(record.tokens, values, strict=True):
            line.append(printable(token), style=_style((value - neutral) / largest))
    console.print(line, "")
    for turn in turns_of(record):
        console.print(Text(turn.words))
    if _credit(record):
        console.print(_strongest(record))


def _facts(record: CreditRecord) -> list[str]:
    verdict = {True: "right", False: "wrong", None: "not graded"}[record.correct]
    strength = f", lambda {record.strength:g}, eps_w {record.clip:g}" if record.strength else ""
    dead_zone = f", dead zone {record.dead_zone:g} nats" if record.dead_zone else ""
    return [
        f"step {record.step}, row {record.row}, group {record.group}: {record.problem_id}",
        f"{verdict}: answer {_or_none(record.answer)}, gold {_or_none(record.gold)}, reward {record.reward:g}",
        f"{record.method}: A = {_signed(record.base_advantage)}{strength}{dead_zone}",
        *(f"{_REFERENCE.get(name, name)} = {_in_words(told)}" for name, told in record.told.items()),
    ]


def _or_none(text: str | None) -> str:
    return "none" if text is None else text


def _in_words(told: Told) -> str:
    return f"{' | '.join(told.texts) or 'none'} ({told.source}{', its own answer' if told.is_own else ''})"


def _credit(record: CreditRecord) -> dict[By, list[float]]:
    """What was recorded for each token, the most telling first."""
    credit: dict[By, list[float] | float | None] = {
        "evidence": record.evidence,
        "weight": record.weight,
        "advantage": record.advantage,
    }
    return {name: values for name, values in credit.items() if isinstance(values, list)}


def _neutral(record: CreditRecord, by: By) -> float:
    return {"evidence": 0.0, "weight": 1.0, "advantage": record.base_advantage}[by]


def _why_not(record: CreditRecord, by: By) -> str:
    if _credit(record):
        return f"{printable(record.method)} recorded no {by}: see --by {', '.join(_credit(record))}"
    return f"no credit was recorded here: all tokens have one advantage, A = {_signed(record.base_advantage)}"


def _style(share: float) -> str:
    """Blue above, orange below, underlined too, so that colour is not all there is; no number: no style."""
    if not abs(share) >= 0.05:
        return ""
    level = int(60 + 195 * min(abs(share), 1.0))
    return f"bold rgb({level // 4},{level // 2},{level})" if share > 0 else f"underline rgb({level},{level // 2},0)"


def _strongest(record: CreditRecord) -> Table:
    """The tokens with the strongest evidence; of a method without evidence, the strongest weight or advantage."""
    logps = {_PROMPT.get(name, f"log P({name})"): values for name, values in record.logps.items()}
    credit = _credit(record)
    by, values = next(iter(credit.items()))
    distance = [abs(value - _neutral(record, by)) for value in values]
    order = sorted(range(len(values)), key=lambda t: 0.0 if math.isnan(distance[t]) else -distance[t])
    table = Table("position", "token", title=f"strongest {by}")
    for name in (*logps, *credit):
        table.add_column(Text(printable(name)), justify="right")
    for t in order[:STRONGEST]:
        numbers = [_signed(stream[t]) for stream in logps.values()]
        numbers += [f"{stream[t]:.3f}" if name == "weight" else _signed(stream[t]) for name, stream in credit.items()]
        table.add_row(str(t + 1), Text(printable(record.tokens[t])), *numbers)
    return table


def _signed(value: float) -> str:
    """Three decimals with the sign, which zero has not."""
    return f"{value:+.3f}" if round(value, 3) else "0.000"
