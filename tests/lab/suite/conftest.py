"""A stand-in for lmms-eval's Python: it writes result files that the real one wrote, or fails as the real one does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cepo.lab.suite import Settings
from cepo.models.embedded import EMBEDDED

RESULTS = Path(__file__).parent / "results"

PROGRAM = """#!{python}
import json, pathlib, shutil, sys
here = pathlib.Path(__file__).parent
if sys.argv[1] == "-c":
    print((here / "probe.json").read_text())
    raise SystemExit
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
task = options["--tasks"]
with (here / "calls").open("a") as file:
    file.write(task + "\\n")
fail = here / f"fail_{{task}}"
print("Model Responding:  50%|#####     | 1/2", flush=True)
if fail.exists():
    print(fail.read_text(), file=sys.stderr)
    raise SystemExit(0)  # as lmms-eval does
folder = pathlib.Path(options["--output_path"]) / "some__model"
folder.mkdir(parents=True)
shutil.copy("{results}/" + task + ".json", folder / "20261124_054842_results.json")
"""

HEALTHY = {"faults": [], "lmms-eval": "0.7.3", "answer grading": True, "torch": 0, "torchvision": "0", "processor": []}


class StandIn:
    def __init__(self, folder: Path) -> None:
        self.folder, self.python = folder, folder / "python"
        self.python.write_text(PROGRAM.format(python=sys.executable, results=RESULTS))
        self.python.chmod(0o755)
        self.probe()

    def probe(self, **changes: object) -> None:
        (self.folder / "probe.json").write_text(json.dumps(HEALTHY | changes))

    def fail(self, task: str, log: str | None) -> None:
        file = self.folder / f"fail_{task}"
        file.unlink(missing_ok=True) if log is None else file.write_text(log)

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().split() if file.exists() else []

    def settings(self, **changes: object) -> Settings:
        return Settings(**({"python": self.python, "device": "cpu", "max_new_tokens": 64} | changes))


@pytest.fixture
def lmms(tmp_path: Path) -> StandIn:
    folder = tmp_path / "lmms"
    folder.mkdir()
    return StandIn(folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes((EMBEDDED / "config.json").read_bytes())
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder
