"""How many tokens the prompt of every row has: of all rows, from their text and the sizes of their images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import PIL.Image
from datasets import Dataset
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from cepo.credit.prompts import plain_ids
from cepo.errors import DataError
from cepo.glossary import DataRow, Prompt
from cepo.trainer.prompt_host import with_image_parts
from cepo.trainer.subject import Subject

__all__ = ["batches", "image_column", "prompt_lengths", "prompt_text", "rows_without_images", "text_lengths"]

Item = TypeVar("Item")
Size = tuple[int, int]
"""Height and width of an image."""


def prompt_lengths(subject: Subject, dataset: Dataset) -> list[int]:
    """Tokens of each row's own prompt, images expanded.

    Nothing is decoded where the processor says how many tokens an image of some size has, and where that gives the
    tokens that the first row, the longest one and the one with the most images really have; else every prompt is made.

    Raises:
        DataError: a row that the chat template cannot render.
    """
    sizes = _image_sizes(dataset)
    found = _from_sizes(subject, dataset, sizes)
    if found is not None:
        tried = {
            0,
            max(range(len(found)), key=found.__getitem__),
            max(range(len(found)), key=lambda row: len(sizes[row])),
        }
        if all(_made(subject, row, dataset[row]) == found[row] for row in tried):
            return found
    return [_made(subject, row, dataset[row]) for row in range(len(dataset))]


def text_lengths(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of texts that teachers are told: as `plain_ids` reads them."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.content]
    counts = [len(ids) for ids in _ids(tokenizer, texts, add_special_tokens=False)]
    for index, text in enumerate(texts):
        if any(name in text for name in added):
            counts[index] = len(plain_ids(tokenizer, text))
    return counts


def prompt_text(prompt: Prompt) -> str:
    """All text of a prompt."""
    if isinstance(prompt, str):
        return prompt
    contents = [message.get("content") or "" for message in prompt]
    parts = [[{"text": content}] if isinstance(content, str) else content for content in contents]
    return "\n".join(part.get("text") or "" for content in parts for part in content)


def image_column(dataset: Dataset) -> str | None:
    """Where a data set's images are; None: it has none."""
    return next((name for name in ("images", "image") if name in dataset.column_names), None)


def rows_without_images(dataset: Dataset) -> Iterator[DataRow]:
    """The rows in order, without their images: nothing is decoded."""
    column = image_column(dataset)
    return iter(dataset if column is None else dataset.remove_columns(column))  # pyright: ignore[reportReturnType]


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


def _from_sizes(subject: Subject, dataset: Dataset, sizes: Sequence[Sequence[Size]]) -> list[int] | None:
    """Tokens by row: of the rendered text, in which each image has one, and of the images beyond that one."""
    expanded = subject.image_tokens([size for of_row in sizes for size in of_row])
    if expanded is None and any(sizes):
        return None
    texts = (
        (isinstance(row["prompt"], str), _rendered(subject, index, row["prompt"], len(sizes[index])))
        for index, row in enumerate(rows_without_images(dataset))
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


def _rendered(subject: Subject, row: int, prompt: Prompt, images: int) -> str:
    try:
        return subject.prompts.render(with_image_parts(prompt, images))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise _cannot_be_rendered(row, error) from error


def _made(subject: Subject, index: int, row: DataRow) -> int:
    try:
        return len(subject.prompt_ids(row))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise _cannot_be_rendered(index, error) from error


def _cannot_be_rendered(row: int, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"row {row}: the model's chat template cannot render the prompt ({reason}); mend or drop the row")


def _image_sizes(dataset: Dataset) -> list[list[Size]]:
    """Of each row's images, from their headers."""
    column = image_column(dataset)
    if column is None:
        return [[] for _ in range(len(dataset))]
    found: list[list[Size]] = []
    for batch in dataset.select_columns([column]).with_format("arrow").iter(batch_size=64):
        for value in cast(Any, batch)[column].to_pylist():
            images = value if isinstance(value, list) else [] if value is None else [value]
            found.append([_size(image) for image in images])
    return found


def _size(image: Mapping[str, Any]) -> Size:
    where = io.BytesIO(image["bytes"]) if image.get("bytes") is not None else image["path"]
    with PIL.Image.open(where) as opened:
        return opened.height, opened.width
