"""A curriculum by the run's own pass rates: problems that were too easy or too hard rest for some steps.

Nothing more is generated for it: where a problem that rests comes up, one that does not takes its place before the
rollouts are made. The history lies in checkpoints, so that a resumed run goes on with the same problems.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cepo.errors import RunFolderError

__all__ = ["COLUMN", "STATE_FILE", "Curriculum"]

COLUMN = "cepo_row"
"""Where a row of the data knows its index."""
STATE_FILE = "cepo_curriculum.json"
_KEPT = 2
"""Pass rates of one problem: the last, and the one before for a checkpoint of a step that has not ended."""


@dataclass(slots=True)
class Curriculum:
    """What a run knows of its problems; the same on every process.

    Attributes:
        rest: steps for which a problem whose pass rate lay outside of the band is left out.
        low, high: the band.
        problems: how many there are.
    """

    rest: int
    low: float
    high: float
    problems: int
    _seen: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    def note(self, found: Sequence[tuple[int, float]], step: int) -> None:
        """Pass rates of problems (index, rate) whose rollouts were made for optimiser step `step`, from 1."""
        for index, rate in found:
            kept = [entry for entry in self._seen.get(index, []) if entry[0] != step]
            self._seen[index] = [*kept, (step, rate)][-_KEPT:]

    def resting(self, step: int) -> set[int]:
        """Problems that are left out at a step."""
        last = {index: entries[-1] for index, entries in self._seen.items()}
        return {
            index
            for index, (when, rate) in last.items()
            if not self.low <= rate <= self.high and when < step <= when + self.rest
        }

    def awake(self, step: int) -> list[int]:
        """Problems that may be drawn; all of them where every one rests."""
        resting = self.resting(step)
        return [index for index in range(self.problems) if index not in resting] or list(range(self.problems))

    def swapped(self, planned: Sequence[int], step: int, seed: str) -> dict[int, int]:
        """Place in the step's problems -> the problem in place of one that rests; fewer where not enough are awake."""
        resting = self.resting(step)
        places = [place for place, index in enumerate(planned) if index in resting]
        taken = resting.union(planned)
        free = [index for index in range(self.problems) if index not in taken]
        drawn = Random(f"curriculum/{seed}/{step}").sample(free, min(len(free), len(places)))
        return dict(zip(places, drawn, strict=False))

    def save(self, folder: Path, step: int) -> None:
        """Write what was known when optimiser step `step` ended: a generation for a later one is not in it."""
        known = {index: [one for one in entries if one[0] <= step] for index, entries in self._seen.items()}
        state = {"problems": self.problems, "seen": {index: of for index, of in sorted(known.items()) if of}}
        (folder / STATE_FILE).write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        """Go on with a checkpoint's history.

        Raises:
            RunFolderError: it has none, or is of other data.
        """
        file = folder / STATE_FILE
        if not file.is_file():
            raise RunFolderError(
                f"{file} is missing: the checkpoint was written without curriculum_rest; resume with the setting it "
                "was trained with"
            )
        state: Mapping[str, object] = json.loads(file.read_text())
        if state["problems"] != self.problems:
            raise RunFolderError(f"{file} is of {state['problems']} problems, the training data has {self.problems}")
        seen = state["seen"]
        assert isinstance(seen, dict)
        self._seen = {int(index): [(int(when), float(rate)) for when, rate in of] for index, of in seen.items()}
