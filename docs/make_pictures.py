"""Writes report.png and solution.png from the report of a run: what the demo's page looks like.

python docs/make_pictures.py runs/tiny-text-decisive    (needs chromium)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from cepo.reports.page import write_report

HERE = Path(__file__).parent
PAIR_ALONE = (
    "header,#overview,#curves,#rollouts,#hover{display:none!important}body{padding:0!important}"
    "main{padding:8px 20px}section{padding-top:6px}#picked .tokens{font-size:15px}"
)
"""Style that leaves of the page the right and the wrong rollout."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        write_report([Path(sys.argv[1])], page)
        shoot(page, HERE / "report.png", (1280, 900))
        page.write_text(page.read_text().replace("</style>", f"{PAIR_ALONE}</style>"))
        shoot(page, HERE / "solution.png", (900, 350), scale=2)


def shoot(page: Path, out: Path, size: tuple[int, int], scale: int = 1) -> None:
    """A picture of a page in 64 colours."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    sizes = [f"--window-size={size[0]},{size[1]}", f"--force-device-scale-factor={scale}"]
    subprocess.run(
        ["chromium", *options, *sizes, f"--screenshot={out}", f"file://{page}"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    Image.open(out).convert("RGB").quantize(64).save(out, optimize=True)


if __name__ == "__main__":
    main()
