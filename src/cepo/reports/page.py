"""`cepo report`: one self-contained HTML page of runs, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from cepo._version import __version__
from cepo.reports.run_data import BIN, WIDEST, RunData, load_run

__all__ = ["build_page", "embed", "write_report"]


def write_report(folders: Sequence[Path], out: Path) -> list[RunData]:
    """Read the runs, write `out` (HTML) and its twin (`.json`), and return what was read.

    Raises:
        ValueError: a folder that is no run, or one given twice.
        OSError: `out` cannot be written.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"a run is given twice: {', '.join(map(str, folders))}")
    runs = [load_run(folder) for folder in folders]
    data = {"cepo": __version__, "bin": BIN, "widest": WIDEST, "runs": [run.to_dict() for run in runs]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(build_page(data), encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(data) + "\n", encoding="utf-8")
    return runs


def build_page(data: dict[str, Any]) -> str:
    """The page with style, script and data inside; nothing is fetched when it opens."""
    assets = files("cepo.reports") / "assets"
    page, style, script = ((assets / name).read_text("utf-8") for name in ("report.html", "report.css", "report.js"))
    return page.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script).replace("/*DATA*/", embed(data))


def embed(data: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or open another.

    Text is ASCII: a lone surrogate stays an escape, and so does whatever a browser would act upon.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
