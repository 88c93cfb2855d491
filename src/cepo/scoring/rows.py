"""What is to be scored."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Images", "ScoreRow"]


@dataclass(frozen=True, slots=True)
class Images:
    """One row's images as the processor made them.

    `pixel_values` (patches, values of a patch) and `grid_thw` (images, 3); Qwen-VL's layout.
    """

    pixel_values: Tensor
    grid_thw: Tensor


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One sequence to score: prompt ids, completion ids (both unpadded), and the prompt's images.

    Rows of one `group` have the same images: what their prompts have in common is encoded once. None: alone.
    """

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    images: Images | None = None
    group: Hashable = None

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)
