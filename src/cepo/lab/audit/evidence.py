"""Evidence of every variant on every target: each log-prob is asked for once and scored once.

A log-prob vector belongs to a target, a way of asking, a reference (None: the student's own prompt) and weights.
Variants, groups and null contrasts only combine them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import nn

from cepo.credit.evidence import marginal_logp
from cepo.credit.prompts import PromptStyle, TeacherPrompts
from cepo.credit.references import References, choose_references, columns_of
from cepo.credit.rules import STUDENT, Credit, Inputs, Knobs, Quantities
from cepo.errors import ModelError
from cepo.glossary import Group
from cepo.lab.audit.metrics import Floats
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.sampling import Prompt
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import ASKING, Asking, Variant
from cepo.scoring import ScoreRow, score

__all__ = ["Key", "ScoreBook", "evidence_of", "keys_of", "placed_of", "references_in"]

ROWS_PER_CALL = 512
"""Rows of one call of `score`: bounds the memory, and paces the progress bar."""


@dataclass(frozen=True, slots=True)
class Key:
    """One log-prob vector."""

    target: Target
    asking: Asking
    reference: str | None
    other_teacher: bool = False


def references_in(
    problem: AuditProblem, members: Sequence[Target], variant: Variant, seed: int
) -> list[References | None]:
    """Each member's references within the group of `members`; None where no evidence comes of it.

    Equal to the trainer's choice at step 1 for the problem's place in the batch.
    """
    prompts, index = variant.rule.references, members[0].problem
    columns = {name: str(problem.row[name]) for name in columns_of(prompts) if problem.row.get(name) is not None}
    group = Group(problem.gold, tuple(member.rollout for member in members), problem.solution, columns)
    chosen = choose_references(group, prompts, variant.policy(seed), step=1, index=index)
    return [one if all(told.texts for told in one.values()) else None for one in chosen]


def keys_of(target: Target, variant: Variant, references: References) -> list[Key]:
    """The log-probs that the variant's evidence is made of."""
    return [key for keys in _keys_by_prompt(target, variant, references).values() for key in keys]


def _keys_by_prompt(target: Target, variant: Variant, references: References) -> dict[str, list[Key]]:
    """Prompt name -> one key for each of its references."""
    keys = {
        prompt: [Key(target, variant.asking, text, variant.other_teacher) for text in references[prompt].texts]
        for prompt in variant.rule.references
    }
    return keys | ({STUDENT: [Key(target, ASKING[0], None)]} if STUDENT in variant.rule.prompts else {})


def evidence_of(target: Target, variant: Variant, references: References, book: ScoreBook) -> Floats:
    """Delta_t of a target's tokens, nats: what the variant's rule says, before clip and lambda."""
    return _assigned(target, variant, references, book).evidence_BT[0].double().numpy()


def placed_of(target: Target, variant: Variant, references: References, book: ScoreBook) -> Floats:
    """What the variant's rule adds to a token, of a target of advantage 1 or -1, above the row's least token.

    At lambda 1 and eps_w 0.5, with the sign of the advantage. An even hand places nothing: 0 everywhere.
    """
    credit_T = _assigned(target, variant, references, book).advantage_BT[0].abs().double().numpy()
    return (1.0 if target.right else -1.0) * (credit_T - credit_T.min(initial=np.inf))


def _assigned(target: Target, variant: Variant, references: References, book: ScoreBook) -> Credit:
    logps = {
        prompt: _marginal([torch.from_numpy(book[key])[None] for key in keys])
        for prompt, keys in _keys_by_prompt(target, variant, references).items()
    }
    mask_BT = torch.ones_like(next(iter(logps.values())), dtype=torch.bool)
    sign = 1.0 if target.right else -1.0
    rule = variant.rule
    assert rule.assign is not None
    return rule.assign(Inputs(rule.name, torch.tensor([sign]), mask_BT, Knobs(1.0, 0.5), logps, _quantities(target)))


def _marginal(logps: Sequence[torch.Tensor]) -> torch.Tensor:
    return marginal_logp(torch.stack(list(logps)), torch.ones(len(logps), 1, dtype=torch.bool))


def _quantities(target: Target) -> Quantities:
    return Quantities(
        reward_B=torch.tensor([target.rollout.reward]), verdict_B=torch.tensor([target.rollout.correct is True])
    )


class ScoreBook:
    """Log-probs by key. `want` them all, then `fill`; a key that was not wanted raises KeyError.

    Args:
        prompts: of the problems, by index.
        models: the policy, and the other teacher if there is one.
        temperature: of the policy's log-probs.
        most: tokens of a told solution, 0: all.
    """

    def __init__(
        self,
        problems: Sequence[Prompt],
        tokenizer: Any,
        render: Callable[[Any], str],
        models: tuple[nn.Module, nn.Module | None],
        image_token_id: int | None,
        temperature: float,
        most: int = 0,
    ) -> None:
        self._problems = problems
        self._models = models
        self._image_token_id = image_token_id
        self._temperature = temperature
        self._prompts: Mapping[PromptStyle, TeacherPrompts] = {
            style: TeacherPrompts(tokenizer, render, style, most=most) for style in get_args(PromptStyle)
        }
        self._wanted: dict[Key, None] = {}
        self._logps: dict[Key, np.ndarray] = {}

    def want(self, keys: Iterable[Key]) -> None:
        self._wanted |= dict.fromkeys(keys)

    def __len__(self) -> int:
        return len(self._wanted)

    def __getitem__(self, key: Key) -> np.ndarray:
        return self._logps[key]

    def fill(self, advance: Callable[[int], object] = lambda _: None) -> None:
        """Score what was wanted; `advance` is told how many rows have been scored.

        Raises:
            ModelError: a log-prob that is not finite: the model is broken, and no audit of it means anything.
        """
        for other_teacher in (False, True):
            keys = sorted(
                (key for key in self._wanted if key.other_teacher == other_teacher and key not in self._logps),
                key=lambda key: key.target.problem,
            )
            model = cast(nn.Module, self._models[other_teacher])
            for chunk in _whole_problems(keys):
                self._score(model, chunk)
                advance(len(chunk))

    def _score(self, model: nn.Module, keys: Sequence[Key]) -> None:
        rows = [self._row(key) for key in keys]
        logp_BT = score(
            model,
            rows,
            width=max(len(row.completion_ids) for row in rows),
            temperature=self._temperature,
            image_token_id=self._image_token_id,
        ).cpu()
        if not logp_BT.isfinite().all():
            raise ModelError("the model gives log-probs that are not finite: its weights are broken")
        for key, logp_T in zip(keys, logp_BT.numpy(), strict=True):
            self._logps[key] = logp_T[: len(key.target.ids)]

    def _row(self, key: Key) -> ScoreRow:
        prompt = self._problems[key.target.problem]
        teacher = self._prompts[key.asking.style]
        ids = teacher.prompt_ids(prompt.messages, prompt.ids, key.reference, key.asking.form)
        images = prompt.images
        if not key.asking.sees_images:
            ids, images = [token for token in ids if token != self._image_token_id], None
        group = (key.target.problem, key.asking.style, images is None)
        return ScoreRow(ids, key.target.ids, images, group)


def _whole_problems(keys: Sequence[Key]) -> Iterable[list[Key]]:
    """Keys in calls of at most ROWS_PER_CALL, cut between problems where that is possible."""
    call: list[Key] = []
    for key in keys:
        new_problem = bool(call) and key.target.problem != call[-1].target.problem
        if len(call) >= ROWS_PER_CALL or (new_problem and len(call) >= ROWS_PER_CALL // 2):
            yield call
            call = []
        call.append(key)
    if call:
        yield call
