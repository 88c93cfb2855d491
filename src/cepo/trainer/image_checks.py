"""What is checked of images in layouts other than Qwen-VL's: before a run what TRL can train of them, and on its first
batch whose they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datasets import Dataset

from cepo.errors import DataError, ModelError
from cepo.glossary import DataRow
from cepo.scoring import OtherImages, ScoreRow
from cepo.trainer.batch import Batch
from cepo.trainer.batch_images import is_one_per_row, same_images
from cepo.trainer.image_columns import image_column, image_counts, sizes_of_images
from cepo.trainer.probing import Encode
from cepo.trainer.prompt_host import Rows

__all__ = ["FirstImages", "check_other_layout"]

TRIED = 6
"""Rows that are put into one batch, at most."""


def check_other_layout(
    rows: Sequence[ScoreRow], dataset: object, is_sharded: bool, together: Callable[[Rows], object]
) -> None:
    """What a run cannot have where its images (those of the probe's `rows`) are in another layout than Qwen-VL's.

    Args:
        is_sharded: whether forwards are collective.
        together: makes one batch's prompts of rows of the data set, as for a generation.

    Raises:
        ModelError: weights are sharded; the processor cannot take rows of this data set together.
        DataError: numbers of images from which TRL would tell rows wrongly.
    """
    images = next((row.images for row in rows if isinstance(row.images, OtherImages)), None)
    if images is None:
        return
    if is_sharded:
        raise ModelError(
            "images of this model's layout go through it a row at a time, which processes that share sharded weights "
            "(FSDP, ZeRO-3) cannot do in step: use DDP or ZeRO-2, or method='grpo'"
        )
    if not isinstance(dataset, Dataset):
        return
    column = image_column(dataset)
    counts = image_counts(dataset, range(len(dataset)), column)
    if is_one_per_row(images.fields) and min(counts) == 0 and max(counts) > 1:
        raise DataError(
            f"some rows have no image and others have several (up to {max(counts)}): TRL tells rows of this model's "
            "layout from images by their number alone, and would give rows the images of others; leave out either kind"
        )
    tried = _unlike_rows(dataset, column, counts)
    try:
        together([dataset[row] for row in tried])
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"TRL makes one batch of rows with other numbers or sizes of images, such as rows "
            f"{', '.join(map(str, tried))}, which this model's processor cannot take together "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): bring all images to one number and size"
        ) from error


def _unlike_rows(dataset: Dataset, column: str | None, counts: Sequence[int]) -> list[int]:
    """The first rows that have other numbers of images, or other sizes."""
    first: dict[object, int] = {}
    for row, (count, sizes) in enumerate(zip(counts, sizes_of_images(dataset, column), strict=True)):
        first.setdefault(count, row)
        first.setdefault(tuple(sizes), row)
    return sorted({*first.values()})[:TRIED]


@dataclass
class FirstImages:
    """Looks once whether the images that the rows of a generated batch are said to have are their own.

    `encode`: a row of the data set -> its prompt's ids and its images, of this row alone.
    """

    encode: Encode
    wanted: bool = True

    def __call__(self, batch: Batch, inputs: Sequence[DataRow]) -> None:
        """Compare a row of each number of images.

        Raises:
            ModelError: a row has the images of another, or is said to have others than its processor makes of them.
        """
        images = batch.images() if self.wanted else []
        if not any(isinstance(one, OtherImages) for one in images):
            return
        self.wanted = False
        counts = batch.image_counts
        for row in sorted({counts.index(count) for count in counts}):
            if not same_images(images[row], self.encode(inputs[row])[1]):
                raise ModelError(
                    f"row {row} of the generated batch does not have the images that its processor makes of it alone: "
                    "TRL and cepo read this model's layout otherwise; use method='grpo' with this model"
                )
