"""How many tokens the prompt of every row has: of all rows, from their text and the sizes of their images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from datasets import Dataset
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from cepo.credit.prompts import Render, plain_ids
from cepo.errors import DataError
from cepo.glossary import DataRow, Prompt
from cepo.trainer.image_columns import Size, image_column, sizes_of_images
from cepo.trainer.prompt_host import with_image_parts
from cepo.trainer.subject import Subject
from cepo.trainer.teacher_view import IMAGES, teacher_image_column, teacher_row

__all__ = ["batches", "prompt_lengths", "rows_without_images", "teacher_lengths", "text_lengths"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who reads prompts: which one of a row, how it becomes text and ids, and the column of its images."""

    prompt: Callable[[DataRow], Prompt]
    render: Render
    ids: Callable[[DataRow], Sequence[int]]
    images: str | None


def prompt_lengths(subject: Subject, dataset: Dataset) -> list[int]:
    """Tokens of each row's own prompt, images expanded.

    Nothing is decoded where the processor says how many tokens an image of some size has, and where that gives the
    tokens that the first row, the longest one and the one with the most images really have; else every prompt is made.

    Raises:
        DataError: a row that the chat template cannot render.
    """
    own = _Reader(lambda row: row["prompt"], subject.render, subject.prompt_ids, image_column(dataset))
    return _lengths(subject, dataset, own)


def teacher_lengths(subject: Subject, dataset: Dataset) -> list[int]:
    """Tokens of what each row's teachers are shown in place of its prompt, as `prompt_lengths`; without references."""
    host = subject.views.host
    theirs = _Reader(
        lambda row: teacher_row(row)["prompt"],
        host.render,
        lambda row: host.prompt_ids(teacher_row(row)),
        teacher_image_column(dataset),
    )
    return _lengths(subject, dataset, theirs)


def text_lengths(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of texts that teachers are told: as `plain_ids` reads them."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.content]
    counts = [len(ids) for ids in _ids(tokenizer, texts, add_special_tokens=False)]
    for index, text in enumerate(texts):
        if any(name in text for name in added):
            counts[index] = len(plain_ids(tokenizer, text))
    return counts


def rows_without_images(dataset: Dataset) -> Iterator[DataRow]:
    """The rows in order, without their images: nothing is decoded."""
    columns = [name for name in ("images", "image", IMAGES) if name in dataset.column_names]
    return iter(dataset.remove_columns(columns))  # pyright: ignore[reportReturnType]


def batches(rows: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The rows, so many at a time."""
    some: list[Item] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _lengths(subject: Subject, dataset: Dataset, reader: _Reader) -> list[int]:
    sizes = sizes_of_images(dataset, reader.images)
    found = _from_sizes(subject, dataset, reader, sizes)
    if found is not None:
        tried = {
            0,
            max(range(len(found)), key=found.__getitem__),
            max(range(len(found)), key=lambda row: len(sizes[row])),
        }
        if all(_made(reader, row, dataset[row]) == found[row] for row in tried):
            return found
    return [_made(reader, row, dataset[row]) for row in range(len(dataset))]


def _from_sizes(
    subject: Subject, dataset: Dataset, reader: _Reader, sizes: Sequence[Sequence[Size]]
) -> list[int] | None:
    """Tokens by row: of the rendered text, in which each image has one, and of the images beyond that one."""
    expanded = subject.image_tokens([size for of_row in sizes for size in of_row])
    if expanded is None and any(sizes):
        return None
    texts = (
        (isinstance(prompt, str), _rendered(reader, index, prompt, len(sizes[index])))
        for index, prompt in enumerate(map(reader.prompt, rows_without_images(dataset)))
    )
    of_images, found = iter(expanded or ()), []
    for batch in batches(texts, 1000):
        counts = {kind: iter(_counts(subject, batch, kind)) for kind in (True, False)}
        found += [next(counts[is_string]) for is_string, _ in batch]
    return [count + sum(next(of_images) - 1 for _ in of_row) for count, of_row in zip(found, sizes, strict=True)]


def _counts(subject: Subject, batch: Sequence[tuple[bool, str]], strings: bool) -> list[int]:
    """Tokens of those of the texts that were strings, or of those that a template has rendered."""
    texts = [text for is_string, text in batch if is_string == strings]
    return [len(ids) for ids in _ids(subject.prompts.tokenizer, texts, add_special_tokens=strings)]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
    found = tokenizer(list(texts), add_special_tokens=add_special_tokens, verbose=False)["input_ids"] if texts else []
    return cast(list[list[int]], found)


def _rendered(reader: _Reader, row: int, prompt: Prompt, images: int) -> str:
    try:
        return reader.render(with_image_parts(prompt, images))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise _cannot_be_rendered(row, error) from error


def _made(reader: _Reader, index: int, row: DataRow) -> int:
    try:
        return len(reader.ids(row))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise _cannot_be_rendered(index, error) from error


def _cannot_be_rendered(row: int, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"row {row}: the model's chat template cannot render the prompt ({reason}); mend or drop the row")
