"""Which rows of a data set have the longest prompts: found over all rows, without making the prompt of each."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import PIL.Image
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from cepo.glossary import Prompt

__all__ = ["image_counts", "longest_rows", "prompt_text"]


def longest_rows(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, told: Collection[str], count: int) -> list[int]:
    """Indices of the `count` rows with the most tokens of text, of as many with the most pixels, and of an even sample.

    The text is the prompt's, and of the columns `told` (what teachers may be told) the longest one's.
    """
    count = min(count, len(dataset))
    chosen = {index * len(dataset) // count for index in range(count)}
    chosen.update(_largest(_tokens(dataset, tokenizer, told), count))
    for column in {"images", "image", "teacher_images"} & set(dataset.column_names):
        chosen.update(_largest(_pixels(dataset, column), count))
    return sorted(chosen)


def prompt_text(prompt: Prompt) -> str:
    """All text of a prompt."""
    if isinstance(prompt, str):
        return prompt
    contents = [message.get("content") or "" for message in prompt]
    parts = [[{"text": content}] if isinstance(content, str) else content for content in contents]
    return "\n".join(part.get("text") or "" for content in parts for part in content)


def image_counts(dataset: Dataset, indices: Sequence[int], column: str | None) -> list[int]:
    """Images of these rows, counted without decoding one."""
    if column is None or not indices:
        return [0] * len(indices)
    stored = dataset.select(indices).select_columns([column]).with_format("arrow")
    values = [value for batch in stored.iter(batch_size=64) for value in cast(Any, batch)[column]]
    if column == "image":
        return [int(value.is_valid) for value in values]
    return [len(value) if value.is_valid else 0 for value in values]


def _largest(values: list[int], count: int) -> list[int]:
    return sorted(range(len(values)), key=values.__getitem__)[-count:]


def _tokens(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, told: Collection[str]) -> list[int]:
    columns = sorted(set(told) & set(dataset.column_names))

    def counted(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]  # pyright: ignore[reportArgumentType]

    found: list[int] = []
    for batch in dataset.select_columns(["prompt", *columns]).iter(batch_size=1000):
        rows = cast(dict[str, list[Any]], batch)
        prompts = counted([prompt_text(prompt) for prompt in rows["prompt"]])
        others = [counted([str(value or "") for value in rows[name]]) for name in columns]
        found += [length + max(other, default=0) for length, *other in zip(prompts, *others, strict=True)]
    return found


def _pixels(dataset: Dataset, column: str) -> list[int]:
    """Pixels of each row's images, from their headers: nothing is decoded."""
    found: list[int] = []
    for batch in dataset.select_columns([column]).with_format("arrow").iter(batch_size=64):
        for value in cast(Any, batch)[column].to_pylist():
            images = value if isinstance(value, list) else [] if value is None else [value]
            found.append(sum(_area(image) for image in images))
    return found


def _area(image: Mapping[str, Any]) -> int:
    where = io.BytesIO(image["bytes"]) if image.get("bytes") is not None else image["path"]
    with PIL.Image.open(where) as opened:
        return opened.width * opened.height
