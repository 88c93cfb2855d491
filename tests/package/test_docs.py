"""What the documentation says about the code is so."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["configuration", "costs", "rules"])
def test_generated_pages_are_up_to_date(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{page}", ROOT / "docs" / f"make_{page}.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / f"{page}.md").read_text() == module.text(), f"run docs/make_{page}.py"


def test_every_quoted_error_is_in_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^### `(.+)`$", page, flags=re.MULTILINE)
    assert len(quoted) > 30
    code = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    # A message may be cut in the source: "... of more "\n    "tokens ..."
    joined = re.sub(r'"\s*\n\s*f?"', "", code)
    assert [words for words in quoted if words not in joined] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in sorted(pages) if page not in navigation] == []


def test_examples_are_embedded_whole() -> None:
    pages = {path.name: path.read_text() for path in (ROOT / "docs").rglob("*.md")}
    # Formatters take the mark for Python in a block that says `python` alone.
    assert [name for name, page in pages.items() if re.search(r"8 < --|8<--\"|^```py", page, re.MULTILINE)] == []
    embedded = {path for page in pages.values() for path in re.findall(r'^--8<-- "(.+)"$', page, re.MULTILINE)}
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "examples").glob("*.py")} <= embedded
    assert [path for path in embedded if not (ROOT / path).is_file()] == []


ORIGINALS = {
    "bed.png": "experiments/results/bed/accuracy.png",
    "figures.png": "experiments/results/figures/accuracy.png",
    "accuracy.png": "experiments/results/geometry/accuracy.png",
    "distribution.png": "experiments/results/geometry/distribution.png",
    "evidence.png": "experiments/results/geometry/evidence.png",
    "audit.png": "experiments/results/audit/tiny/audit.png",
    "blame.png": "experiments/results/audit/chain/blame.png",
    "when.png": "experiments/results/when/when.png",
    "scoring_growth.png": "benchmarks/results/scoring_growth.png",
}


def test_pictures_are_those_of_the_results() -> None:
    stale = [
        f"cp {original} docs/{picture}"
        for picture, original in ORIGINALS.items()
        if (ROOT / "docs" / picture).read_bytes() != (ROOT / original).read_bytes()
    ]
    assert stale == []


@pytest.mark.browser
def test_the_site_is_searched_without_a_server_or_a_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="make docs installs it")
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed: apt-get install chromium"
    site = tmp_path / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True)
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]
    page = f"file://{site}/index.html?q=tokenises"
    dom = subprocess.run([*command, page], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "matching document" in dom
    assert "troubleshooting.html" in dom[dom.index("md-search-result__list") :]
