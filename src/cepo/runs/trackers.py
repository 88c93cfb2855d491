"""Where a recipe that says nothing of `report_to` reports to: every installed tracker, and never to a login."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

__all__ = ["TRACKERS", "keep_in_folder", "with_trackers"]

TRACKERS = ("trackio", "wandb", "tensorboard", "swanlab")
"""As `report_to` names them, which are their packages' names too."""


def with_trackers(values: Mapping[str, object]) -> dict[str, object]:
    """A recipe's fields; where they say nothing of `report_to`, every tracker that is installed and works.

    Trackers know the run by its folder's name, unless `run_name` says another.
    """
    working = [] if "report_to" in values else [name for name in TRACKERS if _works(name)]
    names = {"run_name": Path(str(values["output_dir"])).name} if "output_dir" in values else {}
    return {"report_to": working, "project": "cepo", **names, **values}


def _works(name: str) -> bool:
    """Whether a package is there and can be imported; a broken one is said, and is no reason to stop."""
    found = find_spec(name)
    if found is None or found.origin is None:  # a folder of that name, as wandb leaves one where it has run
        return False
    try:
        import_module(name)
    except Exception as error:
        warnings.warn(f"{name} is installed but cannot be imported, and is not reported to: {error}", stacklevel=3)
        return False
    return True


def keep_in_folder(folder: Path, environment: MutableMapping[str, str], home: Path) -> None:
    """Set where the trackers write, and offline those that nobody is logged in to: they would ask for a key.

    What the environment says already stays.

    Args:
        folder: of the run.
        environment: `os.environ`, before the trainer is made.
        home: of the user, where logins are kept.
    """
    netrc = home / ".netrc"
    logged_in = {
        "wandb": "WANDB_API_KEY" in environment or (netrc.is_file() and "wandb" in netrc.read_text(errors="replace")),
        "swanlab": "SWANLAB_API_KEY" in environment or any((home / ".swanlab").glob("*netrc*")),
    }
    wanted = {
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "WANDB_DIR": str(folder),
        "WANDB_PROJECT": "cepo",
        "SWANLAB_LOG_DIR": str(folder / "swanlog"),
        "SWANLAB_PROJECT": "cepo",
        **{f"{name.upper()}_MODE": "offline" for name, known in logged_in.items() if not known},
    }
    for name, value in wanted.items():
        environment.setdefault(name, value)
