"""What `cepo report` and `cepo show` read of a verl run, without verl: a folder with traces, metrics and settings.

Nothing that fails here stops a training: it is said once, in a warning.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from torch import Tensor

from cepo.answers import Grading
from cepo.credit.groups import LocalGroups
from cepo.credit.records import RecordMaker, TracedRow, digest, rows_to_record
from cepo.credit.settings import CreditSettings
from cepo.credit.step import StepCredit
from cepo.glossary import Prompt
from cepo.integrations.verl_rows import Row, Tracing
from cepo.reports.files import write_whole
from cepo.reports.recorder import Recorded, Recorder

__all__ = ["LOGGED", "RunRecords", "run_settings"]

LOGGED = {
    "critic/score/mean": "reward",
    "response_length/mean": "completions/mean_length",
    "actor/entropy": "entropy",
    "actor/pg_loss": "loss",
    "actor/grad_norm": "grad_norm",
    "timing_s/step": "step_time",
    "timing_s/gen": "phase/generation_s",
    "timing_s/adv": "phase/credit_s",
    "timing_s/update_actor": "phase/update_s",
}
"""verl's name -> the report's."""

_OWN = ("credit/", "reward/")
"""cepo's own metrics begin so, and have one name everywhere."""


@dataclass
class RunRecords:
    """The run folder of a training with verl: `traces/`, `metrics.jsonl`, `config.yaml`, and `summary.json` at its end.

    Attributes:
        folder: made when the first step ends.
        tracing: how much is recorded.
        seed: of the draw of groups.
        make: records of rows.
        settings: what stands in `config.yaml`.
    """

    folder: Path
    tracing: Tracing
    seed: int
    make: RecordMaker
    settings: Mapping[str, Any]
    recorder: Recorder = field(init=False)
    _last: int = 0
    _has_failed: bool = False

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.folder / "traces", self.tracing.trace_max_mb * 2**20)

    @property
    def is_open(self) -> bool:
        """Whether another step's credit would be recorded."""
        return self.tracing.trace_groups > 0 and self.recorder.is_open

    def choose(self, groups: LocalGroups, step: int) -> list[int]:
        """Rows of a few groups, decided ones first; none where nothing is recorded."""
        return rows_to_record(groups, self.tracing.trace_groups, self.seed, step) if self.is_open else []

    def write(self, step: int, made: Callable[[], Recorded]) -> None:
        """Append the records that `made` gives; an error in it ends the records, not the run."""
        self.recorder.write(step, made)

    def of_rows(self, step: StepCredit, rows: Mapping[int, Row], mask_BT: Tensor, traced: Sequence[int]) -> Recorded:
        """Records of the traced rows, and their problems' images. `mask_BT`: of all rows, the tokens in the loss."""
        images = {rows[row].uid: _first_image(rows[row].prompt) for row in traced}
        ids = {rows[row].uid: _problem_id(rows[row], images[rows[row].uid]) for row in traced}
        given = [_traced(row, rows[row], ids[rows[row].uid], mask_BT[row].tolist()) for row in traced]
        return self.make(step, given), [images[rows[row].uid] for row in traced]

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a step's numbers to `metrics.jsonl`, by the names that the report knows."""
        known = {LOGGED.get(name, name): value for name, value in metrics.items()}
        wanted = set(LOGGED.values())
        shown = {
            name: number
            for name, value in known.items()
            if (name in wanted or name.startswith(_OWN)) and (number := _number(value)) is not None
        }
        self._guarded(lambda: self._append(step, shown))

    def flush(self) -> None:
        """Return once every record is on disk."""
        self.recorder.flush()

    def finish(self) -> None:
        """The training has come to its end."""
        self.flush()
        if self._last:
            self._guarded(self._write_summary)

    def _append(self, step: int, shown: Mapping[str, float]) -> None:
        path = self.folder / "metrics.jsonl"
        if not self._last:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / "config.yaml", yaml.safe_dump(dict(self.settings), sort_keys=True))
            # What stands there of this step or a later one is of a run that was killed after its last checkpoint.
            write_whole(path, "".join(line + "\n" for line in _lines(path) if _logged(line).get("step", step) < step))
        with path.open("a") as file:
            file.write(json.dumps({"step": step, **shown}) + "\n")
        self._last = step

    def _write_summary(self) -> None:
        seconds = sum(_logged(line).get("step_time", 0.0) for line in _lines(self.folder / "metrics.jsonl"))
        summary = {"method": self.settings.get("method"), "state": "finished", "steps": self._last}
        write_whole(self.folder / "summary.json", json.dumps(summary | {"train_seconds": round(seconds, 1)}) + "\n")

    def _guarded(self, work: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            work()
        except Exception as error:
            self._has_failed = True
            warnings.warn(
                f"{self.folder}: nothing more is logged there; the run goes on: {type(error).__name__}: {error}",
                stacklevel=3,
            )


def run_settings(
    config: Mapping[str, Any], method: str, credit: CreditSettings, grading: Grading, steps: int
) -> dict[str, Any]:
    """`config.yaml` of the run folder, by the names of a recipe, from verl's whole configuration."""
    actor, files = config["actor_rollout_ref"], config["data"].get("train_files")
    found = {
        "method": method,
        "preset": (config["algorithm"].get("cepo") or {}).get("preset", "default"),
        "model": actor["model"].get("path"),
        "data": files if isinstance(files, str) or files is None else ", ".join(map(str, files)),
        "seed": config["data"].get("seed"),
        "learning_rate": actor["actor"]["optim"].get("lr"),
        "max_steps": steps,
        "num_generations": actor["rollout"].get("n"),
        "engine": "verl",
        **asdict(grading),
        "credit": asdict(credit),
    }
    return json.loads(json.dumps({name: value for name, value in found.items() if value is not None}, default=str))


def _traced(index: int, row: Row, problem_id: str, is_own: Sequence[bool]) -> TracedRow:
    return TracedRow(index, problem_id, row.prompt_ids, row.response_ids, is_own, row.advantage)


def _problem_id(row: Row, image: Image.Image | None) -> str:
    """Equal at every step; verl's own `uid` is drawn anew."""
    picture = None if image is None else (image.size, image.tobytes())
    return digest((list(row.prompt_ids), row.gold, picture))


def _first_image(prompt: Prompt) -> Image.Image | None:
    """As verl's data set puts it into the messages."""
    for message in [] if isinstance(prompt, str) else prompt:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if isinstance(part, Mapping) and isinstance(image := part.get("image"), Image.Image):
                return image
    return None


def _number(value: object) -> float | None:
    """A finite number, of whatever kind (numpy's, a tensor of one element); None: it is none."""
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if math.isfinite(number) else None


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def _logged(line: str) -> dict[str, float]:
    """A line of `metrics.jsonl`; one that was cut short says nothing."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
