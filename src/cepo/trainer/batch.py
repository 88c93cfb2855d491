"""TRL's generated batch: what each of its keys holds, and a view that reads them.

A batch is a dict of tensors and lists. Whether an entry has one element for each row, for each image or for the
whole batch is written down in KINDS, never guessed from a length; whose image is whose, in
`cepo.trainer.batch_images`; batches of several batches' rows are put together in `cepo.trainer.batch_rows`. A key that
is not there is refused, so that a new release of TRL cannot be misread in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

import torch
from torch import Tensor

from cepo.credit.groups import LocalGroups
from cepo.credit.step import Row, StepCredit
from cepo.errors import ModelError
from cepo.glossary import Prompt
from cepo.scoring import RowImages
from cepo.trainer.batch_images import fields_of, image_inputs, images_of_prompt, images_of_rows, joined

__all__ = ["KINDS", "Batch", "Kind", "RawBatch"]


RawBatch: TypeAlias = Mapping[str, Any]
"""TRL's own dict."""


class Kind(Enum):
    """What one entry holds."""

    PROMPT = auto()
    """(B, P), padded on the left."""
    COMPLETION = auto()
    """(B, T), padded on the right."""
    SEQUENCE = auto()
    """(B, P + T): prompt and completion."""
    TEACHER = auto()
    """(B, S), padded on the right; ours, for distillation."""
    ROW = auto()
    """(B,), a list of B, or (B, 1)."""
    IMAGES = auto()
    """One element for each image, or for each patch of an image."""
    WHOLE = auto()
    """One number for the batch."""


KINDS: dict[str, Kind] = {
    "prompt_ids": Kind.PROMPT,
    "prompt_mask": Kind.PROMPT,
    "completion_ids": Kind.COMPLETION,
    "completion_mask": Kind.COMPLETION,
    "tool_mask": Kind.COMPLETION,
    "old_per_token_logps": Kind.COMPLETION,
    "ref_per_token_logps": Kind.COMPLETION,
    "sampling_per_token_logps": Kind.COMPLETION,
    "importance_sampling_ratio": Kind.COMPLETION,
    "advantages": Kind.COMPLETION,
    "token_type_ids": Kind.SEQUENCE,
    "mm_token_type_ids": Kind.SEQUENCE,
    "num_images": Kind.ROW,
    "num_tiles": Kind.ROW,
    "pixel_values": Kind.IMAGES,
    "pixel_attention_mask": Kind.IMAGES,
    "image_grid_thw": Kind.IMAGES,
    "image_sizes": Kind.IMAGES,
    "image_position_ids": Kind.IMAGES,
    "spatial_shapes": Kind.IMAGES,
    "num_items_in_batch": Kind.WHOLE,
    "teacher_ids": Kind.TEACHER,
    "teacher_mask": Kind.TEACHER,
    "teacher_pictures": Kind.ROW,
    "taught": Kind.ROW,
    "taught_tokens": Kind.WHOLE,
}
"""Key -> what it holds. `advantages` and `importance_sampling_ratio` may also have one number for each row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A view of TRL's batch. Nothing is changed in place: what changes it gives another batch.

    Raises:
        ModelError: a key that is not in KINDS.
    """

    raw: RawBatch

    def __post_init__(self) -> None:
        if unknown := sorted(self.raw.keys() - KINDS.keys()):
            raise ModelError(
                f"the generated batch has entries that this version of cepo does not know: {', '.join(unknown)}; "
                "is TRL newer than cepo was made for?"
            )

    def __len__(self) -> int:
        return len(self.raw["prompt_ids"])

    # --- reading ----------------------------------------------------------------------------------------------

    @property
    def completion_ids(self) -> Tensor:
        return self.raw["completion_ids"]

    @property
    def width(self) -> int:
        """T, the completions' padded length."""
        return self.completion_ids.shape[1]

    @property
    def device(self) -> torch.device:
        return self.completion_ids.device

    @property
    def advantages(self) -> Tensor:
        """(B,), or (B, T) once there is credit."""
        return self.raw["advantages"]

    @property
    def loss_mask(self) -> Tensor:
        """Tokens that TRL's loss counts, (B, T)."""
        mask = self.raw["completion_mask"]
        return mask * self.raw["tool_mask"] if "tool_mask" in self.raw else mask

    @property
    def old_logps(self) -> Tensor | None:
        """Log-probs of the policy that generated, (B, T), nats; None where the update is on policy."""
        return self.raw.get("old_per_token_logps")

    @property
    def sequences(self) -> tuple[Tensor, Tensor]:
        """Ids and mask of prompts with their completions, (B, P + T)."""
        ids = torch.cat([self.raw["prompt_ids"], self.completion_ids], dim=1)
        return ids, torch.cat([self.raw["prompt_mask"], self.raw["completion_mask"]], dim=1)

    @property
    def tokens(self) -> Tensor:
        """Tokens that the update reads of each row, its teacher's prompt among them, (B,)."""
        own = self.sequences[1].sum(dim=1)
        return own + self.raw["teacher_mask"].sum(dim=1) if "teacher_mask" in self.raw else own

    @property
    def teacher_prompts(self) -> list[list[int]]:
        return _unpadded(self.raw["teacher_ids"], self.raw["teacher_mask"])

    def teacher_images(self) -> list[RowImages | None]:
        """Each row's images as its distillation's teacher sees them."""
        if "teacher_pictures" not in self.raw:
            return self.images()
        return [None if fields is None else images_of_prompt(fields) for fields in self.raw["teacher_pictures"]]

    @property
    def taught(self) -> Tensor:
        """1.0 for each row that a distillation's teacher has something to tell, (B,)."""
        return self.raw["taught"]

    @property
    def taught_tokens(self) -> Tensor:
        """Tokens of taught rows over all processes."""
        return self.raw["taught_tokens"]

    def prompts(self, rows: Sequence[int] | None = None) -> list[list[int]]:
        """Prompts' token ids without padding, of all rows or of these."""
        return _unpadded(self.raw["prompt_ids"], self.raw["prompt_mask"], rows)

    def completions(self, rows: Sequence[int] | None = None) -> list[list[int]]:
        """Completions' token ids without padding, of all rows or of these."""
        return _unpadded(self.completion_ids, self.raw["completion_mask"], rows)

    def images(self) -> list[RowImages | None]:
        """Each row's images. Raises ModelError: whose they are cannot be said."""
        return images_of_rows(self.raw)

    @property
    def image_counts(self) -> list[int]:
        """How many images each row has."""
        return self.entry("num_images")

    @property
    def image_inputs(self) -> dict[str, Tensor]:
        """What a forward over all rows is given beside ids and mask; empty without images."""
        return image_inputs(self.raw)

    def rows(
        self, prompts: Sequence[Prompt], groups: LocalGroups, scores: Mapping[int, Sequence[float]] | None = None
    ) -> list[Row]:
        """The rows as credit wants them; `scores`: per-token scores from outside, of the rows that have them."""
        parts = zip(self.prompts(), self.completions(), self.images(), self.advantages.tolist(), strict=True)
        return [
            Row(
                index=row,
                group=groups.group_of(row),
                prompt=prompts[row],
                prompt_ids=prompt_ids,
                completion_ids=completion_ids,
                images=images,
                advantage=advantage,
                scores=(scores or {}).get(row),
            )
            for row, (prompt_ids, completion_ids, images, advantage) in enumerate(parts)
        ]

    # --- changing ---------------------------------------------------------------------------------------------

    def having(self, **entries: object) -> Batch:
        """The batch with entries added or replaced."""
        return Batch({**self.raw, **entries})

    def with_credit(self, step: StepCredit) -> Batch:
        """Advantages (B,) become (B, T) where some row got credit; the other rows keep theirs on every token."""
        if step.credit is None:
            return self
        advantage_BT = self.advantages[:, None].repeat(1, self.width)
        advantage_BT[list(step.rows)] = step.credit.advantage_BT.to(advantage_BT.dtype)
        return self.having(advantages=advantage_BT)

    def alive(self) -> Tensor:
        """Rows that the update learns from, (B,): those that are taught, or with any advantage that is not 0."""
        if "taught" in self.raw:
            return self.taught > 0
        return (self.advantages != 0).any(dim=-1) if self.advantages.dim() > 1 else self.advantages != 0

    def dead(self, rows_B: Tensor) -> Batch:
        """The batch with rows (B, true or false) from which nothing is learnt any more."""
        kept = {name: self.raw[name].clone() for name in ("advantages", "taught") if name in self.raw}
        for value in kept.values():
            value[rows_B] = 0.0
        return self.having(**kept)

    def taking(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows alone."""
        kept: dict[str, object] = {}
        for name, value in self.raw.items():
            kind = KINDS[name]
            if kind is Kind.IMAGES:
                continue
            if kind is Kind.WHOLE or value is None:
                kept[name] = value
            else:
                kept[name] = value[list(rows)] if isinstance(value, Tensor) else [value[row] for row in rows]
        if "pixel_values" in self.raw:
            images = self.images()
            kept |= joined([images[row] for row in rows])
        return Batch(kept)

    def entry(self, name: str) -> Any:
        """An entry; what a batch without images, or without pictures of teachers' own, leaves out stands for it."""
        if name in self.raw:
            return self.raw[name]
        if KINDS[name] is Kind.SEQUENCE:
            return torch.zeros_like(self.sequences[0])  # every token is text
        if name in ("num_images", "num_tiles"):  # where images are one tile, TRL counts none
            return self.raw.get("num_images") or [0] * len(self)
        if name == "teacher_pictures":  # teachers see what the student sees
            return [fields_of(image) for image in self.images()]
        return None


def _unpadded(ids_BT: Tensor, mask_BT: Tensor, rows: Sequence[int] | None = None) -> list[list[int]]:
    if rows is not None:
        ids_BT, mask_BT = ids_BT[list(rows)], mask_BT[list(rows)]
    return [ids_T[kept_T].tolist() for ids_T, kept_T in zip(ids_BT.cpu(), mask_BT.bool().cpu(), strict=True)]
