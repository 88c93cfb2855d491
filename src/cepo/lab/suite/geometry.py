"""Our procedural geometry where lmms-eval finds it: the data on disk, and cepo's source on its path."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SPLIT", "prepare_geometry"]

SPLIT = "held_out"


def prepare_geometry(work: Path, problems: int = 500) -> Path:
    """Write `work/data` (the first `problems` of the held-out split) unless it is there; return a Python path.

    The path holds a link to this package alone: our other packages are not for lmms-eval's environment.
    """
    data, path = work / "data", work / "pythonpath"
    if not data.is_dir():
        _write(data, problems)
    path.mkdir(parents=True, exist_ok=True)
    link = path / "cepo"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(__file__).parents[2])
    return path


def _write(data: Path, problems: int) -> None:
    from datasets import Dataset, DatasetDict
    from datasets.utils.logging import disable_progress_bar

    from cepo.data.rows import problem_row
    from cepo.geometry import generate

    disable_progress_bar()
    rows = Dataset.from_list([problem_row(problem) for problem in generate(SPLIT, problems, seed=0)])
    half = data.with_name("data.writing")
    DatasetDict({SPLIT: rows}).save_to_disk(half)
    half.rename(data)
