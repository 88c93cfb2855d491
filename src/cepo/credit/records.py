"""Credit records out of a step: which rows are recorded, and what is said of each of their tokens.

Plain data for both trainers, TRL's and verl's: nothing of it changes once training goes on. Nothing is written here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cepo.credit.groups import LocalGroups, is_decided
from cepo.credit.step import StepCredit
from cepo.reports.records import CreditRecord
from cepo.reports.turns import stretches

__all__ = ["RecordMaker", "TracedRow", "digest", "rows_to_record"]


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A row that is recorded, as a trainer holds it.

    Attributes:
        index: of the row, local.
        problem_id: equal for the rows of one problem.
        prompt_ids, completion_ids: tokens without padding.
        is_own: for each token of the completion whether it is the model's own, not a tool's.
        advantage: A, before credit.
    """

    index: int
    problem_id: str
    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    is_own: Sequence[bool]
    advantage: float


def rows_to_record(groups: LocalGroups, count: int, seed: int, step: int) -> list[int]:
    """Local rows of `count` groups, decided ones first; drawn by step."""
    indices = sorted(groups.groups)
    Random(f"traces/{seed}/{step}").shuffle(indices)
    indices.sort(key=lambda index: not is_decided(groups.groups[index]))
    chosen = set(indices[:count])
    return [row for row in groups.places if groups.group_of(row) in chosen]


def digest(content: object) -> str:
    """An id of a problem that has none: of what it is made of."""
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


@dataclass
class RecordMaker:
    """Makes the records of a step's rows; rows without credit carry their base advantage.

    Attributes:
        tokenizer: decodes prompts and tokens.
        image_token_id: left out of the prompts' texts.
    """

    tokenizer: PreTrainedTokenizerBase
    image_token_id: int | None = None
    _texts: dict[int, str] = field(default_factory=dict)

    def __call__(self, step: StepCredit, rows: Sequence[TracedRow]) -> list[CreditRecord]:
        places = {row: place for place, row in enumerate(step.rows)}
        prompts: dict[tuple[int, ...], str] = {}
        records = []
        for row in rows:
            key = tuple(row.prompt_ids)  # the rows of a group have one prompt
            if key not in prompts:
                shown = [token for token in key if token != self.image_token_id]
                prompts[key] = str(self.tokenizer.decode(shown))
            records.append(self._record(step, row, places.get(row.index), prompts[key]))
        return records

    def _record(self, step: StepCredit, row: TracedRow, place: int | None, prompt_text: str) -> CreditRecord:
        rollout, group = step.groups.rollout(row.index), step.groups.group_of(row.index)
        length = len(row.completion_ids)
        return CreditRecord(
            step=step.step,
            problem_id=row.problem_id,
            row=step.groups.first_row + row.index,
            group=group,
            method=step.name,
            prompt_text=prompt_text,
            tokens=[self._text(token) for token in row.completion_ids],
            token_ids=list(row.completion_ids),
            base_advantage=row.advantage,
            reward=rollout.reward,
            correct=rollout.correct,
            answer=rollout.answer,
            gold=step.groups.groups[group].gold,
            told=dict(step.references[row.index]),
            said_by_tools=stretches([not own for own in row.is_own[:length]]),
            strength=step.knobs.strength,
            clip=step.knobs.clip,
            dead_zone=step.knobs.dead_zone,
            **_streams(step, row, place, length),
        )

    def _text(self, token: int) -> str:
        """Of one token; a tokenizer takes long to say it."""
        if token not in self._texts:
            self._texts[token] = str(self.tokenizer.decode([token]))
        return self._texts[token]


def _streams(step: StepCredit, row: TracedRow, place: int | None, length: int) -> dict[str, Any]:
    """Per-token lists of one row, which stands at `place` among those with credit; where no reference is told, a
    prompt's log-probs are the student's and left out."""
    if step.credit is None or place is None:
        return {"advantage": row.advantage}

    def values(stream_T: Tensor) -> list[float]:
        return stream_T[:length].tolist()

    told = step.references[row.index]
    logps = {
        prompt: values(logp_T)
        for prompt, logp_T in step.logps.get(row.index, {}).items()
        if prompt not in told or told[prompt].texts
    }
    credit = step.credit
    return {
        "logps": logps,
        "evidence": values(credit.evidence_BT[place]),
        "weight": values(credit.weight_BT[place]),
        "advantage": values(credit.advantage_BT[place]),
    }
