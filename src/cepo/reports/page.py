"""`cepo report`: one self-contained HTML page of runs, and the same as JSON."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from cepo._version import __version__
from cepo.errors import SettingError
from cepo.reports.files import write_whole
from cepo.reports.records import CreditRecord, encode
from cepo.reports.run_data import BIN, WIDEST, RunData, load_run
from cepo.reports.story import headline, picked, progress
from cepo.reports.turns import turns_of
from cepo.reports.unusual import PAGE, Unusual, unusual

__all__ = ["build_page", "embed", "pack", "write_report"]

DECIMALS = 4
"""Of the numbers in the JSON file; the page shows three."""

SCRIPTS = ("shared.js", "charts.js", "summary.js", "rollouts.js")
"""In the order in which they run."""

CHECKOUT = Path(__file__).parents[3]
"""Where the documentation lies, if this is no installed package."""


def write_report(folders: Sequence[Path], out: Path, refresh: float | None = None) -> list[RunData]:
    """Read the runs, write `out` (HTML) and its twin (`.json`), and return what was read.

    Args:
        refresh: seconds after which an open page reads itself again while a run is training; None: never.

    Raises:
        RunFolderError: a folder that is no run.
        SettingError: a folder that is given twice.
        OSError: `out` cannot be written.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise SettingError(f"a run is given twice: {', '.join(map(str, folders))}")
    runs = [load_run(folder) for folder in folders]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, build_page(runs, refresh))
    write_whole(out.with_suffix(".json"), json.dumps(_data(runs, packed=False)) + "\n")
    return runs


def build_page(runs: Sequence[RunData], refresh: float | None = None) -> str:
    """The page with style, script and data inside; nothing is fetched when it opens."""
    assets = files("cepo.reports") / "assets"
    page, style = ((assets / name).read_text("utf-8") for name in ("report.html", "report.css"))
    script = "".join((assets / name).read_text("utf-8") for name in SCRIPTS)
    data = _data(runs, packed=True)
    if refresh is not None and any(run.state == "training" for run in runs):
        data |= {"refresh": refresh, "written": time.strftime("%H:%M:%S")}
    return page.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script).replace("/*DATA*/", embed(data))


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
    return {"cepo": __version__, "bin": BIN, "widest": WIDEST, "runs": [_run(run, packed) for run in runs]}


def _run(run: RunData, packed: bool) -> dict[str, object]:
    """What was read, and what it says in sentences."""
    remarks = unusual(run.metrics)
    rollouts = [
        {**_shown(record, packed), "first_wrong": run.first_wrong.get(place)}
        for place, record in enumerate(run.rollouts)
    ]
    told = {
        "headline": headline(run, len(remarks)),
        "progress": progress(run),
        "unusual": [_remark(remark) for remark in remarks],
        "picked": picked(run),
    }
    kept = {name: value for name, value in vars(run).items() if name != "first_wrong"}
    return {**kept, "rollouts": rollouts, **told}


def _remark(remark: Unusual) -> dict[str, object]:
    """With the address of its explanation where the documentation is at hand: as built, else as it is written."""
    pages = (CHECKOUT / "site" / PAGE.replace(".md", ".html"), CHECKOUT / "docs" / PAGE)
    page = next((page for page in pages if page.is_file()), None)
    link = None if page is None else f"{page.as_uri()}#{remark.anchor}"
    return {"name": remark.name, "says": remark.says, "remedy": remark.remedy, "page": f"docs/{PAGE}", "link": link}


def _shown(record: CreditRecord, packed: bool) -> dict[str, object]:
    content = encode(record, DECIMALS)
    del content["token_ids"]
    content["turns"] = [{"start": turn.start, "words": turn.words} for turn in turns_of(record)]
    if packed:
        streams = {"advantage": record.advantage, "evidence": record.evidence, "weight": record.weight}
        content |= {name: pack(values) for name, values in streams.items() if isinstance(values, list)}
        content["logps"] = {name: pack(values) for name, values in record.logps.items()}
    return content
