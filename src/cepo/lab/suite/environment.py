"""lmms-eval's own Python: where it is, and whether what is in it grades as it should."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from cepo.errors import ModelError, PackageError, SettingError

__all__ = ["INSTALL", "VARIABLE", "VERSION", "check_environment", "find_python"]

VERSION = "0.7.3"
VARIABLE = "CEPO_LMMS_PYTHON"

INSTALL = f"""\
python3 -m venv ~/lmms
~/lmms/bin/pip install lmms-eval=={VERSION} decord
~/lmms/bin/pip install 'math-verify>=0.8,<1' antlr4-python3-runtime==4.9.3
export {VARIABLE}=~/lmms/bin/python"""
"""In two steps: lmms-eval's requirements alone make pip choose math-verify 0.1.0, which cannot be imported. pip then
warns that latex2sympy2 wants antlr 4.7.2; it works with 4.9.3, and nothing newer goes with both."""

_PROBE = r"""
import importlib.metadata, json, sys
found = {"faults": []}
def check(name, action):
    try:
        found[name] = action()
    except BaseException as error:
        found["faults"].append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
def graders():
    from latex2sympy2 import latex2sympy
    from math_verify import parse, verify
    assert str(latex2sympy(r"\frac{1}{2}")) == "1/2", "latex2sympy2 reads 1/2 wrongly"
    assert verify(parse(r"\boxed{\frac{1}{2}}"), parse(r"\boxed{0.5}")), "math-verify does not find 1/2 equal to 0.5"
    return True
def gpus():
    import torch
    return torch.cuda.device_count()
def torchvision():
    import torchvision
    return torchvision.__version__
def processors():
    from transformers import AutoConfig, AutoProcessor
    blind = []
    for path in sys.argv[1:]:
        sees = hasattr(AutoConfig.from_pretrained(path, local_files_only=True), "vision_config")
        if sees and not hasattr(AutoProcessor.from_pretrained(path, local_files_only=True), "image_processor"):
            blind.append(path)
    return blind
check("lmms-eval", lambda: importlib.metadata.version("lmms-eval"))
if not found["faults"]:
    check("answer grading", graders)
    check("torch", gpus)
    check("torchvision", torchvision)
    check("processor", processors)
print("\n" + json.dumps(found))
"""


def find_python(given: Path | None) -> Path:
    """The Python of lmms-eval's environment: `given`, or what CEPO_LMMS_PYTHON names.

    Raises:
        SettingError: neither, or no such program; with the commands that make the environment.
    """
    source = "--lmms-python" if given is not None else VARIABLE
    named = str(given) if given is not None else os.environ.get(VARIABLE, "")
    if not named:
        raise SettingError(
            f"the suites run in lmms-eval's own environment: give --lmms-python or set {VARIABLE}. "
            f"To make one:\n{INSTALL}"
        )
    # Not resolved: the link in a virtual environment is what makes it one.
    python = Path(named).expanduser().absolute()
    if not python.is_file() or not os.access(python, os.X_OK):
        raise SettingError(
            f"{source} names {named!r}, which is no program. To make lmms-eval's environment:\n{INSTALL}"
        )
    return python


_Probe = TypedDict("_Probe", {"faults": list[str], "lmms-eval": NotRequired[str], "processor": list[str], "torch": int})
"""What the probe printed; without faults the rest is there. `torch` counts the GPUs, `processor` names blind models."""


def check_environment(python: Path, models: list[str], device: str, environment: Mapping[str, str]) -> None:
    """lmms-eval is there in our version, its graders grade, local models' images are read, the device exists.

    Args:
        models: local folders, as they will be given to lmms-eval.
        environment: variables that are laid over ours.

    Raises:
        PackageError, ModelError, SettingError: what is wrong, and how to get it right.
    """
    found = _probe(python, models, environment)
    version = found.get("lmms-eval")
    if version != VERSION:
        raise PackageError(
            f"{python} has {f'lmms-eval {version}' if version else 'no lmms-eval'}, the suites are for {VERSION}. "
            f"To make its environment:\n{INSTALL}"
        )
    if found["faults"]:
        raise PackageError(f"lmms-eval's environment {python} is broken. {_advice(found['faults'][0])}")
    if found["processor"]:
        raise ModelError(
            f"{found['processor'][0]}: AutoProcessor gives no image processor, the model would answer without seeing "
            "the images. Save its processor again where torchvision is installed"
        )
    if device.startswith("cuda") and not found["torch"]:
        raise SettingError(f"{python} sees no GPU; pass --device cpu to evaluate on the CPU (for small models only)")


def _probe(python: Path, models: list[str], environment: Mapping[str, str]) -> _Probe:
    command = [python, "-c", _PROBE, *models]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        last = (done.stderr.strip() or "it printed nothing").splitlines()[-1]
        raise PackageError(f"{python} does not run ({last}). To make lmms-eval's environment:\n{INSTALL}") from None


def _advice(fault: str) -> str:
    if fault.startswith("torchvision") and "torchvision::" in fault:
        return f"{fault}. torch and torchvision are builds for different devices: install both from one index"
    return f"{fault}. To make one that works:\n{INSTALL}"
