"""What the files for contributors say of this repository is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import cepo

ROOT = Path(__file__).parents[2]


def test_the_hooks_run_what_cis_lint_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    lint = re.search(r"^lint: install\n((?:\t.+\n)+)", makefile, flags=re.MULTILINE)
    assert lint is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint.group(1).splitlines()]
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in repo["hooks"]] == commands
    assert len(commands) == 4
    assert not any(hook["pass_filenames"] for hook in repo["hooks"]), "the whole repository is looked at, as CI does"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (cepo.__version__, "Apache-2.0")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md"])
def test_every_file_and_target_that_is_named_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:src|tests|docs|examples|experiments|recipes|benchmarks)/[\w/.]+)`", text)
    named += re.findall(r"\]\(([^)#]+)\)", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    targets = set(re.findall(r"\bmake ([a-z-]+)", text)) - {"up"}
    assert targets - set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)) == set()
