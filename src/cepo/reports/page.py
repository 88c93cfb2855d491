"""`cepo report`: one self-contained HTML page of runs, and the same as JSON."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from cepo._version import __version__
from cepo.errors import SettingError
from cepo.reports.records import CreditRecord, encode
from cepo.reports.run_data import BIN, WIDEST, RunData, load_run

__all__ = ["build_page", "embed", "pack", "write_report"]

DECIMALS = 4
"""Of the numbers in the JSON file; the page shows three."""


def write_report(folders: Sequence[Path], out: Path) -> list[RunData]:
    """Read the runs, write `out` (HTML) and its twin (`.json`), and return what was read.

    Raises:
        RunFolderError: a folder that is no run.
        SettingError: a folder that is given twice.
        OSError: `out` cannot be written.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise SettingError(f"a run is given twice: {', '.join(map(str, folders))}")
    runs = [load_run(folder) for folder in folders]
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, build_page(runs))
    _write(out.with_suffix(".json"), json.dumps(_data(runs, packed=False)) + "\n")
    return runs


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)


def build_page(runs: Sequence[RunData]) -> str:
    """The page with style, script and data inside; nothing is fetched when it opens."""
    assets = files("cepo.reports") / "assets"
    page, style, script = ((assets / name).read_text("utf-8") for name in ("report.html", "report.css", "report.js"))
    data = embed(_data(runs, packed=True))
    return page.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script).replace("/*DATA*/", data)


def embed(data: object) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or open another.

    Text is ASCII: a lone surrogate stays an escape, and so does whatever a browser would act upon.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def pack(values: Sequence[float]) -> str:
    """Numbers as base64, a third of the size of JSON and read only when they are shown.

    `i`: thousandths as 16-bit integers; `f`: 32-bit floats, where a number is too large for that or not finite.
    """
    small = all(math.isfinite(value) and abs(value) < 32.767 for value in values)
    numbers = np.rint(np.multiply(values, 1000)).astype("<i2") if small else np.asarray(values, dtype="<f4")
    return ("i" if small else "f") + base64.b64encode(numbers.tobytes()).decode()


def _data(runs: Sequence[RunData], *, packed: bool) -> dict[str, object]:
    shown = [{**vars(run), "rollouts": [_shown(record, packed) for record in run.rollouts]} for run in runs]
    return {"cepo": __version__, "bin": BIN, "widest": WIDEST, "runs": shown}


def _shown(record: CreditRecord, packed: bool) -> dict[str, object]:
    content = encode(record, DECIMALS)
    del content["token_ids"]
    if packed:
        streams = {"advantage": record.advantage, "evidence": record.evidence, "weight": record.weight}
        content |= {name: pack(values) for name, values in streams.items() if isinstance(values, list)}
        content["logps"] = {name: pack(values) for name, values in record.logps.items()}
    return content
