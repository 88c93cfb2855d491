"""What pip gets: every file of the package, one version, extras that fit. `make test-wheel` installs the wheel."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import cepo
from cepo.cli import main

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cepo"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(lines: list[str]) -> dict[str, Requirement]:
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def test_every_file_of_the_package_is_packed() -> None:
    globs = PROJECT["tool"]["setuptools"]["package-data"]["cepo"]
    packed = {path for pattern in globs for path in SOURCE.glob(pattern)}
    for path in SOURCE.rglob("*"):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        inside = [folder for folder in path.parents if folder.is_relative_to(SOURCE)]
        is_module = path.suffix == ".py" and all((folder / "__init__.py").is_file() for folder in inside)
        assert is_module or path in packed, f"no glob of package-data covers {path.relative_to(SOURCE)}"
    for pattern in globs:
        assert list(SOURCE.glob(pattern)), f"package-data names {pattern}, which matches nothing"


def test_one_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "cepo._version.__version__"}
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cepo {cepo.__version__}\n"


def test_what_is_installed_here_is_pinned_within_what_is_asked_for() -> None:
    pins = requirements((ROOT / "constraints.txt").read_text().split())
    extras = PROJECT["project"]["optional-dependencies"]
    asked = requirements(PROJECT["project"]["dependencies"] + extras["dev"] + extras["deepspeed"])
    for name, wanted in asked.items():
        pinned = next((pin for pin in pins if pin.lower().replace("_", "-") == name.lower()), None)
        assert pinned, f"constraints.txt does not pin {name}"
        (exact,) = pins[pinned].specifier
        assert wanted.specifier.contains(exact.version), f"{name}: {exact} is outside of {wanted.specifier}"


def test_vllms_extra_is_trls() -> None:
    project = PROJECT["project"]
    own = requirements(project["dependencies"])["trl"]
    vllm = requirements(project["optional-dependencies"]["vllm"])["trl"]
    assert (vllm.extras, vllm.specifier) == ({"vllm"}, own.specifier)


def test_the_method_needs_no_trainer() -> None:
    """`cepo.credit` and `cepo.scoring` load neither TRL nor datasets nor accelerate, not even through others."""
    modules = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        for room in ("credit", "scoring")
        for path in sorted((SOURCE / room).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    hosts = ("trl", "datasets", "accelerate")
    code = f"import {', '.join(modules)}, sys; print([host for host in {hosts} if host in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
