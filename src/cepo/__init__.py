"""Token-level credit for RLVR: CEPO, RLSD, GRPO and rules of your own on TRL's trainer, with images.

What stands in `__all__` is the declared face: scripts, rules and examples import from here and from nowhere else.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from cepo._moved import Finder
from cepo._version import __version__

if TYPE_CHECKING:
    from cepo.answers import Grading, extract_answer, same_answer
    from cepo.credit.evidence import contrastive_evidence, dead_zone, privileged_gain, signed_evidence
    from cepo.credit.references import ReferenceSource, column_source, register_source
    from cepo.credit.rules import METHODS, Credit, Distillation, Inputs, Knobs, Rule, credit_from, register
    from cepo.data.datasets import DataSpec, load_data
    from cepo.data.feedback import FeedbackReward
    from cepo.data.rewards import REWARDS, accuracy_reward, bind_reward, format_reward
    from cepo.data.rows import problem_row
    from cepo.data.scores import TokenReward
    from cepo.data.tools import TOOLS
    from cepo.errors import CepoError
    from cepo.geometry import generate as generate_problems
    from cepo.glossary import Told
    from cepo.models.embedded import EMBEDDED
    from cepo.models.processor import load_processor
    from cepo.reports.traces import CreditRecord, read_traces
    from cepo.trainer.config import CEPOConfig
    from cepo.trainer.trainer import CEPOTrainer

__all__ = [
    "EMBEDDED",
    "METHODS",
    "REWARDS",
    "TOOLS",
    "CEPOConfig",
    "CEPOTrainer",
    "CepoError",
    "Credit",
    "CreditRecord",
    "DataSpec",
    "Distillation",
    "FeedbackReward",
    "Grading",
    "Inputs",
    "Knobs",
    "ReferenceSource",
    "Rule",
    "TokenReward",
    "Told",
    "__version__",
    "accuracy_reward",
    "bind_reward",
    "column_source",
    "contrastive_evidence",
    "credit_from",
    "dead_zone",
    "extract_answer",
    "format_reward",
    "generate_problems",
    "load_data",
    "load_processor",
    "privileged_gain",
    "problem_row",
    "read_traces",
    "register",
    "register_source",
    "same_answer",
    "signed_evidence",
]

_HOMES = {
    "cepo.answers": ("Grading", "extract_answer", "same_answer"),
    "cepo.credit.evidence": ("contrastive_evidence", "dead_zone", "privileged_gain", "signed_evidence"),
    "cepo.credit.references": ("ReferenceSource", "column_source", "register_source"),
    "cepo.credit.rules": (
        "METHODS",
        "Credit",
        "Distillation",
        "Inputs",
        "Knobs",
        "Rule",
        "credit_from",
        "register",
    ),
    "cepo.data.datasets": ("DataSpec", "load_data"),
    "cepo.data.feedback": ("FeedbackReward",),
    "cepo.data.rewards": ("REWARDS", "accuracy_reward", "bind_reward", "format_reward"),
    "cepo.data.rows": ("problem_row",),
    "cepo.data.scores": ("TokenReward",),
    "cepo.data.tools": ("TOOLS",),
    "cepo.errors": ("CepoError",),
    "cepo.glossary": ("Told",),
    "cepo.models.embedded": ("EMBEDDED",),
    "cepo.models.processor": ("load_processor",),
    "cepo.reports.traces": ("CreditRecord", "read_traces"),
    "cepo.trainer.config": ("CEPOConfig",),
    "cepo.trainer.trainer": ("CEPOTrainer",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import on first use: `import cepo.reports.traces` must not pull in torch and TRL."""
    if name == "generate_problems":
        return import_module("cepo.geometry").generate
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cepo' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


sys.meta_path.append(Finder)
