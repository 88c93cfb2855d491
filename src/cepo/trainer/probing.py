"""The rows of the probe that a run makes at its start, and what comes of it.

Two groups of two rows: a prompt, the same with words put in as a reference is, and both with a longer beginning, so
that prefixes are padded as they will be. Completions are words of the prompt: nothing has been generated yet.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from cepo.errors import ModelError
from cepo.glossary import DataRow
from cepo.scoring import Precision, RowImages, ScoreRow, score
from cepo.scoring.forward import continues_from_prefixes
from cepo.scoring.lengths import may_look_nearby
from cepo.scoring.plan import common_prefix
from cepo.scoring.probe import BOUND, Agreement, probe
from cepo.scoring.weights import Teacher
from cepo.trainer.teacher_view import TeacherViews

__all__ = ["Encode", "Probing", "as_long_as_completed", "plain_text", "probe_rows"]

Encode = Callable[[DataRow], tuple[Sequence[int], RowImages | None]]
"""A row of the data set -> its prompt's ids, images expanded, and its images."""

LOOKED_AT = 64
"""Rows among which one with an image is looked for."""

SHORTEST = 40
"""Tokens of a prompt that is surely long enough to be shared."""

PLAIN_TEXT = "Each of these words is here so that there is something to be read before the first answer is given."


@dataclass(frozen=True, slots=True)
class Probing:
    """What the probe of a run rests on; `teacher` None: the model as it is.

    `completion`: tokens that a completion may have; 0: not told. The other attributes are those of the run's scoring
    (`cepo.trainer.scorer`).
    """

    teacher: Teacher | None
    temperature: float
    precision: str
    image_token_id: int | None
    completion: int = 0

    def __call__(self, policy: nn.Module, rows: Sequence[ScoreRow]) -> Agreement:
        """Compare the teacher's scoring with the model's own forward; warns where rows have to be scored whole.

        Raises:
            ModelError: the evidence would not be the model's; or copied weights are not those that score.
        """
        if self.teacher is None:
            return self._compared(policy, rows)
        with self.teacher.in_place(policy):
            found = self._compared(policy, rows)
        if self.teacher.keeps_copy:
            self._check_copy(policy, self.teacher, rows)
        return found

    def _compared(self, policy: nn.Module, rows: Sequence[ScoreRow]) -> Agreement:
        found = probe(
            policy,
            as_long_as_completed(policy, rows, self.completion),
            temperature=self.temperature,
            image_token_id=self.image_token_id,
            precision=cast(Precision, self.precision),
        )
        if found.why_whole:
            warnings.warn(
                f"prompts that a group shares are encoded again for every row, which takes longer: {found.why_whole}",
                stacklevel=2,
            )
        return found

    def _check_copy(self, policy: nn.Module, teacher: Teacher, rows: Sequence[ScoreRow]) -> None:
        """Another copy gives other log-probs."""
        width = max(len(row.completion_ids) for row in rows)

        def scored() -> Tensor:
            with teacher.in_place(policy):
                return score(policy, rows[:1], width=width, image_token_id=self.image_token_id, precision="float32")

        before = scored()
        with teacher.disturbed():
            after = scored()
        if (after - before).abs().max().item() < BOUND:
            raise ModelError(
                f"teacher_weights={teacher.weights!r} has no effect here: the copied weights are not those that the "
                "forward reads (as where weights are sharded); use teacher_weights: live, or train with LoRA and "
                "teacher_weights: base, or under DDP"
            )


def probe_rows(
    dataset: object,
    encode: Encode,
    tokenizer: PreTrainedTokenizerBase,
    image_token_id: int | None,
    views: TeacherViews | None = None,
) -> list[ScoreRow]:
    """Two groups of two rows, of the data set's first problem that has an image, else of its first; two groups more
    where its teachers are shown another prompt.

    A stream is not looked into, since that consumes it: a fixed sentence stands for its prompts.
    """
    if not isinstance(dataset, Dataset) or not len(dataset):
        return _groups(cast(list[int], tokenizer(PLAIN_TEXT)["input_ids"]), None, tokenizer, image_token_id)
    row = _first_with_image(dataset)
    found = _groups(*encode(row), tokenizer, image_token_id)
    if (view := views(row) if views else None) is not None:
        own = _groups(view.prompt_ids, view.images, tokenizer, image_token_id)
        found += [replace(one, group=f"teacher {one.group}") for one in own]
    return found


def plain_text(tokenizer: PreTrainedTokenizerBase) -> ScoreRow:
    """A text behind its first token."""
    first, *rest = cast(list[int], tokenizer(PLAIN_TEXT)["input_ids"])
    return ScoreRow([first], rest)


def as_long_as_completed(model: nn.Module, rows: Sequence[ScoreRow], more: int) -> Sequence[ScoreRow]:
    """The same rows; with `more` words in what their group shares, where `model` may look at nearby tokens only."""
    longest = max(row.length for row in rows) + more
    if not continues_from_prefixes(model) or not may_look_nearby(model, longest):
        return rows
    groups = {row.group for row in rows}
    place = {group: common_prefix(row.prompt_ids for row in rows if row.group == group) for group in groups}
    words = ([*rows[0].completion_ids] * more)[:more]

    def longer(row: ScoreRow) -> ScoreRow:
        ids, at = row.prompt_ids, place[row.group]
        return replace(row, prompt_ids=[*ids[:at], *words, *ids[at:]])

    return [longer(row) for row in rows]


def _groups(
    ids: Sequence[int], images: RowImages | None, tokenizer: PreTrainedTokenizerBase, image_token_id: int | None
) -> list[ScoreRow]:
    """A prompt, the same with words put in, and both with a longer beginning."""
    words = _words(tokenizer, ids, image_token_id)
    if images is None and len(ids) < SHORTEST:
        ids = [*(words * SHORTEST)[:SHORTEST], *ids]
    end = len(ids) - 2
    told = [*ids[:end], *words[:6], *ids[end:]]
    longer = [[*prompt[:end], *words[-5:], *prompt[end:]] for prompt in (ids, told)]
    completions = words[-12:], words[-7:]
    return [
        ScoreRow(prompt, completion, images, group)
        for group, pair in enumerate([(ids, told), longer])
        for prompt, completion in zip(pair, completions, strict=True)
    ]


def _first_with_image(dataset: Dataset) -> DataRow:
    rows = (dataset[index] for index in range(min(LOOKED_AT, len(dataset))))
    return next((row for row in rows if row.get("images") or row.get("image") is not None), dataset[0])


def _words(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], image_token_id: int | None) -> list[int]:
    """Tokens of the prompt that are text."""
    other = {*tokenizer.all_special_ids, image_token_id}
    return [token for token in ids if token not in other] or list(ids[-1:])
