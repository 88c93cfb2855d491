"""The recipe's `teachers:` by name: another checkpoint in memory, or a model on an inference server.

`default` reads in the policy's place; any other name is for rules that say which teacher reads a prompt ("plus@large").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cepo.credit.references import teacher_of
from cepo.credit.rules import Distillation, Method
from cepo.errors import SettingError, did_you_mean

__all__ = ["DEFAULT", "TeacherSpec", "parse_teachers", "refuse_teachers"]

DEFAULT = "default"
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class TeacherSpec:
    """One teacher beside the policy.

    Attributes:
        name: `default`, or what a rule's prompts call it.
        model: a checkpoint (a folder, a hub id, a run); of a server: the name under which it serves its model.
        dtype: of the weights in memory.
        device: where they lie; None: where the policy is.
        server: address of an OpenAI-compatible server, as vLLM's; None: in memory.
        precision: of a server, said by who knows it: log-probs are taken as they come.
        timeout: seconds that a request may take.
        retries: how often a request is tried again.
        rows_per_request: sequences in one request.
    """

    name: str
    model: str
    dtype: str = "auto"
    device: str | None = None
    server: str | None = None
    precision: str | None = None
    timeout: float = 120.0
    retries: int = 3
    rows_per_request: int = 32

    def __post_init__(self) -> None:
        """Raise SettingError on a value that could not be used."""
        where = f"teachers.{self.name}"
        if not isinstance(self.model, str) or not self.model:
            raise SettingError(f"{where} names no model: give it {{model: a folder or a hub id}}")
        if self.dtype not in DTYPES:
            raise SettingError(f"{where}: unknown dtype {self.dtype!r}; choose from {', '.join(DTYPES)}")
        if self.server is not None and not str(self.server).startswith(("http://", "https://")):
            raise SettingError(f"{where}: server={self.server!r} is no address; it begins with http:// or https://")
        for name, least in (("timeout", 0.001), ("retries", 0), ("rows_per_request", 1)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value >= least:
                raise SettingError(f"{where}: {name}={value!r} must be a number of at least {least}")


def parse_teachers(given: object) -> dict[str, TeacherSpec]:
    """Name -> teacher, of a mapping (or the same as JSON) whose values are a checkpoint or a teacher's own mapping.

    Raises:
        SettingError: no mapping, an unknown key, or a value that cannot be used.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError:
            given = {DEFAULT: given}  # a checkpoint
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SettingError(f"teachers={given!r}: give a checkpoint, or {{name: {{model: ...}}}}")
    return {str(name): _spec(str(name), one) for name, one in given.items()}


def _spec(name: str, given: object) -> TeacherSpec:
    values = {"model": given} if isinstance(given, str) else given
    known = [entry.name for entry in fields(TeacherSpec) if entry.name != "name"]
    if not isinstance(values, Mapping):
        raise SettingError(f"teachers.{name}={given!r}: give a checkpoint, or {{model: ...}}")
    for key in values:
        if key not in known:
            raise SettingError(f"teachers.{name} has no {key!r} (it has {', '.join(known)}){did_you_mean(key, known)}")
    whole: dict[str, Any] = {"model": "", **values}
    return TeacherSpec(name, **whole)


def refuse_teachers(specs: Mapping[str, TeacherSpec], method: Method, config: Any) -> None:
    """Refuse teachers that the method would not read, or could not use.

    Raises:
        SettingError: with the teacher, and what to do.
    """
    if not method.references:
        return
    read = {teacher_of(prompt) or DEFAULT for prompt in method.references}
    if missing := sorted(read - {DEFAULT} - specs.keys()):
        raise SettingError(
            f"method={method.name!r} asks a teacher {missing[0]!r}, which teachers={sorted(specs)} does not have: give "
            f"teachers: {{{missing[0]}: {{model: ...}}}}"
        )
    if unread := sorted(specs.keys() - {DEFAULT} - read):
        raise SettingError(
            f"teachers.{unread[0]}: no prompt of method={method.name!r} is read by it ({', '.join(method.prompts)}); "
            f"a rule asks it by name, as 'plus@{unread[0]}'"
        )
    if DEFAULT in specs and config.teacher_weights not in (None, "live"):
        raise SettingError(
            f"teacher_weights={config.teacher_weights!r} names weights of the policy's, and teachers.default other "
            "ones: leave one of them out"
        )
    for spec in specs.values():
        if spec.server is not None:
            _refuse_server(spec, method, config)


def _refuse_server(spec: TeacherSpec, method: Method, config: Any) -> None:
    where = f"teachers.{spec.name}: a server"
    if isinstance(method, Distillation):
        raise SettingError(f"{where} gives log-probs of sampled tokens, and method={method.name!r} reads distributions")
    if config.temperature != 1.0:
        raise SettingError(
            f"{where} gives log-probs at temperature 1, but rollouts have temperature={config.temperature}; use 1"
        )
    if spec.precision is None:
        raise SettingError(
            f"{where} scores in a precision of its own, and method={method.name!r} reads small differences of "
            f"log-probs, which need fp32 (docs/performance.md). Say which (precision: bfloat16) to use it all the "
            "same; the run logs its floor"
        )
