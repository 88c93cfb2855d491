"""Token-level credit for RLVR: CEPO, RLSD and GRPO on TRL's trainer, with images."""

import sys
from typing import TYPE_CHECKING, Any

from cepo._moved import Finder
from cepo._version import __version__

if TYPE_CHECKING:
    from cepo.credit.rules import METHODS, register
    from cepo.trainer.config import CEPOConfig
    from cepo.trainer.trainer import CEPOTrainer

__all__ = ["METHODS", "CEPOConfig", "CEPOTrainer", "__version__", "register"]

_HOMES = {
    "CEPOConfig": "cepo.trainer.config",
    "CEPOTrainer": "cepo.trainer.trainer",
    "METHODS": "cepo.credit.rules",
    "register": "cepo.credit.rules",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `import cepo.reports.traces` must not pull in torch and TRL."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cepo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


sys.meta_path.append(Finder)
