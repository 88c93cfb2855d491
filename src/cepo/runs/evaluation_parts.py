"""What is done of an evaluation: a file for each batch, until the whole is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cepo.errors import RecordError
from cepo.evaluate import Generation, load_generations, save_generations
from cepo.trainer.checkpoint import writing

__all__ = ["PartsOfEvaluation"]


@dataclass(frozen=True)
class PartsOfEvaluation:
    """Each process writes the batches that it made; the main process reads all, and removes them in the end.

    Attributes:
        folder: theirs alone.
        about: what the evaluation is; parts of another are not looked at.
    """

    folder: Path
    about: Mapping[str, object]

    def found(self) -> dict[int, list[Generation]]:
        """Batches that are there, by their number; of another evaluation, none, and they are removed."""
        about = self.folder / "about.json"
        with suppress(OSError, ValueError, RecordError):
            if json.loads(about.read_text()) != dict(self.about):
                raise ValueError
            return {int(file.stem): load_generations(file) for file in sorted(self.folder.glob("*.jsonl"))}
        self.remove()
        with writing(about):
            self.folder.mkdir(parents=True, exist_ok=True)
            about.write_text(json.dumps(dict(self.about)))
        return {}

    def keep(self, number: int, made: Sequence[Generation]) -> None:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            save_generations(made, self.folder / f"{number:05d}.jsonl")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
