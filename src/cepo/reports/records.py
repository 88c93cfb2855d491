"""A credit record, and how it is written as JSON and read back, from older schemas too.

Strict JSON: numbers that are not finite are the strings "nan", "inf" and "-inf". No torch, so that records open
anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar, get_args

from cepo.glossary import ReferenceForm, Told

__all__ = ["SCHEMA", "STUDENT", "CreditRecord", "decode", "encode"]

SCHEMA = 2
"""Version of the record format. It grows when a reader of the version before would misread a file."""

STUDENT = "student"
"""The name of the policy's own prompt among `CreditRecord.logps`."""


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """One rollout and its credit. Lists have one entry per completion token.

    Attributes:
        step: optimiser step, from 1.
        problem_id: the data set's id of the problem.
        row, group: global row index of the rollout and group index of its problem, within the step.
        method: name of the method that assigned the credit.
        prompt_text: the student's prompt as the model read it.
        tokens, token_ids: the completion; a token's text may be half a character.
        advantage: A_hat_t, or one number where all tokens have the same.
        base_advantage: A of the rollout, before credit.
        reward: total reward.
        image: path of the problem's image, relative to the trace's folder; None: no image.
        correct: the grader's verdict; None: no gold answer.
        answer, gold: extracted answer and gold answer; None: there is none.
        told: prompt name -> what that prompt told the teacher of this rollout.
        logps: prompt name -> log-probs of the tokens under that prompt, in nats. `student` is the policy's own
            prompt, `plus` and `minus` are told r+ and r-; a rule of one's own can name others. A prompt under which
            the rollout was not scored has no entry.
        evidence: Delta_t, in nats; None: the method has none, or no credit was due.
        weight: w_t after clipping; None as for evidence.
        said_by_tools: [start, end) of each stretch of tokens that is a tool's or an environment's, not the model's.
        strength, clip, dead_zone: lambda at this step, eps_w, and the nats that were taken off |Delta_t|.
    """

    step: int
    problem_id: str
    row: int
    group: int
    method: str
    prompt_text: str
    tokens: list[str]
    token_ids: list[int]
    advantage: list[float] | float
    base_advantage: float
    reward: float
    image: str | None = None
    correct: bool | None = None
    answer: str | None = None
    gold: str | None = None
    told: dict[str, Told] = field(default_factory=dict)
    logps: dict[str, list[float]] = field(default_factory=dict)
    evidence: list[float] | None = None
    weight: list[float] | None = None
    said_by_tools: list[list[int]] = field(default_factory=list)
    strength: float = 0.0
    clip: float = 0.0
    dead_zone: float = 0.0

    def __post_init__(self) -> None:
        lists: dict[str, Sequence[object] | float | None] = {
            "token_ids": self.token_ids,
            "advantage": self.advantage,
            "evidence": self.evidence,
            "weight": self.weight,
            **{f"logps of {name!r}": values for name, values in self.logps.items()},
        }
        for name, values in lists.items():
            if isinstance(values, list) and len(values) != len(self.tokens):
                raise ValueError(
                    f"record of step {self.step}, row {self.row}: {name} has {len(values)} entries for "
                    f"{len(self.tokens)} tokens"
                )


def encode(record: CreditRecord, decimals: int) -> dict[str, object]:
    """The record as plain data for JSON, numbers rounded."""

    def rounded(value: float) -> float | str:
        return round(float(value), decimals) if math.isfinite(value) else str(float(value))

    def each(values: list[float] | None) -> Sequence[float | str] | None:
        if values is None:
            return None
        if math.isfinite(sum(values)):  # then each of them is
            return [round(value, decimals) for value in map(float, values)]
        return [rounded(value) for value in values]

    content: dict[str, object] = {entry.name: getattr(record, entry.name) for entry in fields(record)}
    return content | {
        "advantage": each(record.advantage) if isinstance(record.advantage, list) else rounded(record.advantage),
        "base_advantage": rounded(record.base_advantage),
        "reward": rounded(record.reward),
        "told": {
            name: {part.name: getattr(told, part.name) for part in fields(told)} for name, told in record.told.items()
        },
        "logps": {name: each(values) for name, values in record.logps.items()},
        "evidence": each(record.evidence),
        "weight": each(record.weight),
        "strength": rounded(record.strength),
        "clip": rounded(record.clip),
        "dead_zone": rounded(record.dead_zone),
    }


def _as_dict(told: Told) -> dict[str, object]:
    """`asdict` copies what nobody changes."""
    return {part.name: getattr(told, part.name) for part in fields(told)}


def decode(content: Mapping[str, object], schema: int = SCHEMA) -> CreditRecord:
    """The record of one JSON object. What a schema lacked has its default; fields that we do not know are ignored.

    Raises:
        ValueError: a field that every record has is missing, or a field is of another type.
    """
    get = _Fields(_from_schema_1(content) if schema == 1 else content)
    return CreditRecord(
        step=get("step", _integer),
        problem_id=get("problem_id", _text),
        row=get("row", _integer),
        group=get("group", _integer),
        method=get("method", _text),
        prompt_text=get("prompt_text", _text),
        tokens=get("tokens", _list_of(_text)),
        token_ids=get("token_ids", _list_of(_integer)),
        advantage=get("advantage", _number_or_numbers),
        base_advantage=get("base_advantage", _number),
        reward=get("reward", _number),
        image=get("image", _optional(_text), None),
        correct=get("correct", _optional(_truth), None),
        answer=get("answer", _optional(_text), None),
        gold=get("gold", _optional(_text), None),
        told=get("told", _dict_of(_told), {}),
        logps=get("logps", _dict_of(_numbers), {}),
        evidence=get("evidence", _optional(_numbers), None),
        weight=get("weight", _optional(_numbers), None),
        said_by_tools=get("said_by_tools", _list_of(_list_of(_integer)), []),
        strength=get("strength", _number, 0.0),
        clip=get("clip", _number, 0.0),
        dead_zone=get("dead_zone", _number, 0.0),
    )


def _from_schema_1(content: Mapping[str, object]) -> dict[str, object]:
    """Schema 1 knew three prompts by fields of their own, and did not say whether r- was the rollout's own answer."""
    get = _Fields(content)
    logps = {name: content.get(f"logp_{name}") for name in (STUDENT, "plus", "minus")}
    minus = get("r_minus", _list_of(_text), [])
    told: dict[str, object] = {}
    if (source := get("plus_source", _text, "none")) != "none":
        told["plus"] = {"texts": [content.get("r_plus")], "source": source}
    if (source := get("minus_source", _text, "unused")) != "unused":
        is_own = content.get("correct") is False and content.get("answer") in minus
        told["minus"] = {"texts": minus, "source": source, "is_own": is_own}
    return {**content, "told": told, "logps": {name: values for name, values in logps.items() if values is not None}}


T = TypeVar("T")
Read = Callable[[object], T]
"""Takes what JSON gave and returns it as a T, or raises TypeError or ValueError."""


class _Fields:
    """Fields of one JSON object by name, each read as the type that it must have."""

    def __init__(self, content: Mapping[str, object]) -> None:
        self._content = content

    def __call__(self, name: str, read: Read[T], *default: T) -> T:
        if name not in self._content and default:
            return default[0]
        if name not in self._content:
            raise ValueError(f"{name} is missing")
        try:
            return read(self._content[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None


def _expected(what: str, value: object) -> TypeError:
    return TypeError(f"expected {what}, got {value!r:.60}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _expected("text", value)
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise _expected("a whole number", value)
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _expected("true or false", value)
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float, str)):
        raise _expected("a number", value)
    try:
        return float(value)
    except ValueError:
        raise _expected("a number", value) from None


def _numbers(value: object) -> list[float]:
    return _list_of(_number)(value)


def _number_or_numbers(value: object) -> list[float] | float:
    return _numbers(value) if isinstance(value, list) else _number(value)


def _told(value: object) -> Told:
    get = _Fields(_dict_of(lambda entry: entry)(value))
    return Told(
        texts=tuple(get("texts", _list_of(_text))),
        source=get("source", _text),
        form=get("form", _form, "answer"),
        is_own=get("is_own", _truth, False),
    )


def _form(value: object) -> ReferenceForm:
    known: tuple[ReferenceForm, ...] = get_args(ReferenceForm)
    for form in known:
        if form == value:
            return form
    raise _expected(f"one of {', '.join(known)}", value)


def _optional(read: Read[T]) -> Read[T | None]:
    return lambda value: None if value is None else read(value)


def _list_of(read: Read[T]) -> Read[list[T]]:
    def read_list(value: object) -> list[T]:
        if not isinstance(value, list):
            raise _expected("a list", value)
        return [read(entry) for entry in value]

    return read_list


def _dict_of(read: Read[T]) -> Read[dict[str, T]]:
    def read_dict(value: object) -> dict[str, T]:
        if not isinstance(value, dict):
            raise _expected("an object", value)
        return {name: read(entry) for name, entry in value.items()}

    return read_dict
