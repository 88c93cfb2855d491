"""`cepo report`: one self-contained HTML page of runs, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from cepo._version import __version__
from cepo.reports.rollouts import BIN, STREAMS, WIDEST
from cepo.reports.run_data import RunData, load_run

__all__ = ["build_page", "embed", "write_report"]

SCRIPTS = ("text.js", "credit.js", "charts.js", "overview.js", "rollout.js", "inspector.js", "viewer.js")
STYLES = ("report.css", "viewer.css")


def write_report(folders: Sequence[Path], out: Path) -> list[RunData]:
    """Read the runs, write `out` (HTML) and its twin (`.json`), and return what was read.

    Raises:
        ValueError: a folder that is no run, one given twice, or an `out` that its twin would overwrite.
        OSError: `out` cannot be written.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"a run is given twice: {', '.join(map(str, folders))}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out is {out}: give a name that ends in .html (its twin ends in .json)")
    runs = [load_run(folder) for folder in folders]
    _tell_apart(runs)
    data = {"cepo": __version__, "bin": BIN, "widest": WIDEST, "runs": [run.to_dict() for run in runs]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(build_page(data), encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(data, allow_nan=False) + "\n", encoding="ascii")
    return runs


def _tell_apart(runs: Sequence[RunData]) -> None:
    """Runs whose folders have the same name go by their path."""
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            run.name = run.folder


def build_page(data: dict[str, Any]) -> str:
    """The page with style, script and data inside; nothing is fetched when it opens.

    The rollouts' per-token lists stand apart, one line each, so that opening the page parses none of them.
    """
    assets = files("cepo.reports") / "assets"
    heads, streams = [], []
    for run in data["runs"]:
        rollouts = [{name: value for name, value in one.items() if name not in STREAMS} for one in run["rollouts"]]
        prompts = list(dict.fromkeys(one["prompt"] for one in rollouts))
        place = {prompt: index for index, prompt in enumerate(prompts)}
        rollouts = [one | {"prompt": place[one["prompt"]]} for one in rollouts]
        heads.append(run | {"rollouts": rollouts, "prompts": prompts})
        streams += [embed([one[name] for name in STREAMS]) for one in run["rollouts"]]
    parts = {
        "/*STYLE*/": "".join((assets / name).read_text("utf-8") for name in STYLES),
        "/*SCRIPT*/": "".join((assets / name).read_text("utf-8") for name in SCRIPTS),
        "/*DATA*/": embed(data | {"runs": heads}),
        "/*STREAMS*/": "\n".join(streams),
    }
    page = (assets / "report.html").read_text("utf-8")
    for mark, content in parts.items():
        before, after = page.split(mark, 1)  # data comes last: a token that spells a mark is not searched
        page = before + content + after
    return page


def embed(data: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or open another.

    Text is ASCII: a lone surrogate stays an escape, and so does whatever a browser would act upon.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
