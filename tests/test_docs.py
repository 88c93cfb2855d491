"""What the documentation says about the code is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def test_configuration_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs" / "make_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "configuration.md").read_text() == module.text(), "run docs/make_configuration.py"


def test_every_quoted_error_is_in_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^## `(.+)`$", page, flags=re.MULTILINE)
    assert len(quoted) > 10
    code = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    # A message may be cut in the source: "... of more "\n    "tokens ..."
    joined = re.sub(r'"\s*\n\s*f?"', "", code)
    assert [words for words in quoted if words not in joined] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in sorted(pages) if page not in navigation] == []
