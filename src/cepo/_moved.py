"""Names of modules that have moved: importing an old one fails with a sentence that gives the new one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["MOVED", "Finder"]

_GROUPS = {
    "cepo": "types=glossary traces=reports.traces teacher=scoring.weights audit=lab.audit compare=lab.compare "
    "suite=lab.suite warm_start=lab.warm_start",
    "cepo.ops": "credit=credit.evidence distill=credit.divergence masked=credit.masked "
    "diagnostics=credit.diagnostics schedule=credit.schedule",
    "cepo.contexts": "prompts=credit.prompts references=credit.references",
    "cepo.tasks": "geometry=geometry datasets=data.datasets guards=data.guards images=data.images "
    "messages=data.messages rewards=data.rewards rows=data.rows sources=data.sources",
    "cepo.training": "methods=credit.rules settings=credit.settings assign=credit.step rollouts=credit.groups "
    "null=trainer.null trainer=trainer.trainer config=trainer.config distillation=trainer.distillation "
    "generation=trainer.internals resample=trainer.resample micro_batch=trainer.micro_batch metrics=credit.metrics "
    "completions=trainer.completions phases=trainer.phases prompting=trainer.internals records=trainer.recorder "
    "preflight=trainer.checks doctor=runs.doctor run=runs.run recipe=runs.recipe callbacks=runs.callbacks "
    "export=runs.export same_run=runs.folder method_files=runs.method_files",
}
MOVED = {
    f"{package}.{old}": f"cepo.{new}"
    for package, pairs in _GROUPS.items()
    for old, _, new in (pair.partition("=") for pair in pairs.split())
}


class Finder:
    """The last on `sys.meta_path`: asked for what no other finds."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in MOVED:
            raise ImportError(f"the module {name} has moved: import {MOVED[name]} instead", name=name)
        # A package that is gone is an empty one, so that the name within it is asked for.
        return ModuleSpec(name, None, is_package=True) if name in _GROUPS else None
