"""What is to be scored."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

__all__ = ["Images", "OtherImages", "RowImages", "ScoreRow"]


@dataclass(frozen=True, slots=True)
class Images:
    """One row's images as the processor made them.

    `pixel_values` (patches, values of a patch) and `grid_thw` (images, 3); Qwen-VL's layout.
    """

    pixel_values: Tensor
    grid_thw: Tensor


@dataclass(frozen=True, slots=True)
class OtherImages:
    """One row's images in any other layout: what its processor gives for this row alone, by the names that the
    model's forward takes; each has one element at least along its first axis.

    `token_types`: the same for what goes with token ids: (1, L), up to the last token that is not text. What a
    teacher is told stands behind the images, so that its prompt begins with the same tokens; all others are text, 0.
    """

    fields: Mapping[str, Tensor]
    token_types: Mapping[str, Tensor]

    @property
    def reach(self) -> int:
        """L, the tokens that token types are of."""
        return max((types.shape[1] for types in self.token_types.values()), default=0)


RowImages: TypeAlias = Images | OtherImages


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One sequence to score: prompt ids, completion ids (both unpadded), and the prompt's images.

    Rows of one `group` have the same images: what their prompts have in common is encoded once. None: alone.
    """

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    images: RowImages | None = None
    group: Hashable = None

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)
