"""Prompts that fit the model: checked on every row of a data set, and dropped from a stream as it comes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from datasets import Dataset, IterableDataset

from cepo.credit.references import MAX_REFERENCE_CHARS, SOURCES, told_by_data
from cepo.credit.rules import get_method
from cepo.credit.step import View
from cepo.errors import DataError
from cepo.glossary import DataRow, Group, Prompt, ReferenceForm
from cepo.trainer.lengths import batches, prompt_lengths, rows_without_images, teacher_lengths, text_lengths
from cepo.trainer.subject import Subject
from cepo.trainer.teacher_view import teacher_row

__all__ = ["check_held_out", "check_lengths", "fitting_stream", "without_long_rows"]

SHOWN = 5
MOST_SHAPES = 64
_FORMS: tuple[ReferenceForm, ...] = ("answer", "rationale", "feedback")

_log = logging.getLogger(__name__)


def check_lengths(subject: Subject, dataset: Dataset) -> str:
    """Prompt, longest reference and completion fit the model's positions, on every row.

    Raises:
        DataError: the rows that do not, or one whose prompt or teacher's prompt cannot be made.
    """
    longest = _longest_that_fits(subject, _longest_prompts(subject, dataset), "Shorten or drop them (drop_invalid)")
    completion = subject.config.max_completion_length or 0
    total = longest + completion
    return f"longest prompt {longest} + completion {completion} = {total} of {subject.positions} positions"


def check_held_out(subject: Subject, dataset: Dataset | None) -> None:
    """Every problem of an evaluation, if there is one, fits with its answer. Raises DataError as `check_lengths`."""
    if dataset is None:
        return
    alone = replace(subject, method=get_method("grpo"))
    try:
        _longest_that_fits(alone, _longest_prompts(alone, dataset), "Take them out of eval_data")
    except DataError as error:
        raise DataError(f"eval_data: {error}") from None


def _longest_that_fits(subject: Subject, lengths: Sequence[int], remedy: str) -> int:
    room = _room(subject)
    over = [f"row {row}: {length}" for row, length in enumerate(lengths) if length > room]
    if over:
        raise DataError(
            f"{len(over)} of {len(lengths)} rows have prompts (references included) of more tokens than fit: "
            f"{'; '.join(over[:SHOWN])}; the model has {subject.positions} positions and max_completion_length="
            f"{subject.config.max_completion_length or 0} leaves {room}. {remedy}, or lower max_completion_length."
        )
    return max(lengths)


def without_long_rows(subject: Subject, dataset: Dataset, name: str) -> Dataset:
    """The rows whose prompts fit; how many do not is said in a warning. All of them where none fits."""
    room = _room(subject)
    kept = [row for row, length in enumerate(_longest_prompts(subject, dataset)) if length <= room]
    if len(kept) in (0, len(dataset)):
        return dataset
    _log.warning(
        "%s: %d of %d rows are left out: their prompts have more than %d tokens (references included)",
        name, len(dataset) - len(kept), len(dataset), room,
    )  # fmt: skip
    return dataset.select(kept)


def fitting_stream(subject: Subject, stream: IterableDataset) -> IterableDataset:
    """The stream without the rows whose prompts do not fit, which are counted in warnings as they come."""
    return stream.filter(_Fits(subject))


class _Fits:
    """Whether a row's prompts fit; says how many did not, each time that their number has another digit."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.dropped = subject, 0

    def __call__(self, row: DataRow) -> bool:
        if self._longest(row) <= _room(self.subject):
            return True
        self.dropped += 1
        if self.dropped == 10 ** (len(str(self.dropped)) - 1):
            _log.warning(
                "rows left out of the stream so far: %d; their prompts have more than %d tokens (references included)",
                self.dropped, _room(self.subject),
            )  # fmt: skip
        return False

    def _longest(self, row: DataRow) -> int:
        own = len(self.subject.prompt_ids(row))
        if not self.subject.method.references:
            return own
        view = self.subject.views(row)
        (told,) = _told(self.subject, [row])
        return max(own, (own if view is None else len(view.prompt_ids)) + told)


def _room(subject: Subject) -> int:
    """Tokens that a completion leaves to the prompt."""
    return subject.positions - (subject.config.max_completion_length or 0)


def _longest_prompts(subject: Subject, dataset: Dataset) -> list[int]:
    """Tokens of each row's longest prompt: the student's, or a teacher's with what it may be told."""
    if not subject.method.references:
        return prompt_lengths(subject, dataset)
    _check_shapes(subject, dataset)
    own = prompt_lengths(subject, dataset)
    shown = teacher_lengths(subject, dataset) if subject.views.differ(dataset.column_names) else own
    told = _told(subject, rows_without_images(dataset))
    return [max(length, seen + more) for length, seen, more in zip(own, shown, told, strict=True)]


def _check_shapes(subject: Subject, dataset: Dataset) -> None:
    """A reference can be put into a prompt of every shape (the roles of its messages) that the data has."""
    seen: set[object] = set()
    for index, row in enumerate(rows_without_images(dataset)):
        shape = _shape(teacher_row(row)["prompt"])
        if shape in seen or len(seen) >= MOST_SHAPES:
            continue
        seen.add(shape)
        whole = dataset[index]
        try:
            shown = subject.views(whole) or View(whole["prompt"], subject.prompt_ids(whole), None)
            subject.prompts.prompt_ids(shown.prompt, shown.prompt_ids, "")
        except DataError as error:
            raise DataError(f"row {index}: {error}") from None


def _shape(prompt: Prompt) -> object:
    if isinstance(prompt, str):
        return None
    return tuple((message.get("role"), type(message.get("content"))) for message in prompt)


def _told(subject: Subject, rows: Iterable[DataRow]) -> Iterator[int]:
    """Tokens of the longest block that a teacher's prompt has beyond what it is shown, by row; a bare one has none."""
    names, prompts = subject.method.references, subject.prompts
    around = {form: len(prompts.reference_ids("", form)) for form in _FORMS} if names else {}
    for batch in batches(rows, 1000):
        wanted = [[block for name in names if (block := _block(subject, name, row)) is not None] for row in batch]
        texts = sorted({text for blocks in wanted for told, _, _ in blocks for text in told})
        known = dict(zip(texts, text_lengths(texts, prompts.tokenizer), strict=True))
        for blocks in wanted:
            sizes = [
                around[form] + prompts.shown(more, form)
                for told, form, most in blocks
                for more in ([known[text] for text in told if text] if told else [most])
            ]
            yield max(sizes, default=0)


def _block(subject: Subject, name: str, row: DataRow) -> tuple[Sequence[str], ReferenceForm, int] | None:
    """What a prompt is told, in which form, and where a rollout decides how many tokens it may have; None: nothing."""
    config, source = subject.config, SOURCES[name]
    policy = config.credit.reference_policy(config.seed)
    columns = {column: str(row[column]) for column in source.columns if row.get(column) is not None}
    gold, solution = (_text_or_none(row.get(column)) for column in (config.answer_column, config.solution_column))
    told = told_by_data(name, Group(gold, (), solution, columns), policy)
    if told.texts:
        return told.texts, told.form, 0
    if source.of_rollout is None:
        return None
    form = policy.reference_form if source.of_rollout == "policy" else source.of_rollout
    rollout = config.max_completion_length or 0
    longest = {"answer": min(rollout, MAX_REFERENCE_CHARS), "rationale": rollout}
    return (), form, longest.get(form, rollout + policy.feedback_chars)


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
