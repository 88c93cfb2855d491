"""TRL's generated batch: the only place that names its keys, and says of each what it holds.

A batch is a dict of tensors and lists. Whether an entry has one element for each row, for each image or for the
whole batch is written down in KINDS, never guessed from a length; whose image is whose, in
`cepo.trainer.batch_images`. A key that is not there is refused, so that a new
release of TRL cannot be misread in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate
from math import ceil
from typing import Any, NamedTuple, TypeAlias

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

_PADDED_WITH_PAD = ("prompt_ids", "completion_ids")


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
        return self._entry("num_images")

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

    def replacing(self, taken: Mapping[int, int], fresh: Batch, pad_id: int) -> Batch:
        """The batch with the rows `taken` (row -> row of `fresh`) replaced; both are padded to the wider one."""
        rows = [(1, taken[row]) if row in taken else (0, row) for row in range(len(self))]
        return Batch.of([self, fresh], rows, pad_id)

    @classmethod
    def of(cls, parts: Sequence[Batch], rows: Sequence[tuple[int, int]], pad_id: int) -> Batch:
        """Rows of several batches in this order, each (part, row), padded to the widest part; types of numbers, and
        what holds for a whole batch, are those of the first part that has them."""
        starts = list(accumulate(map(len, parts), initial=0))
        places = [starts[part] + row for part, row in rows]
        widths = _Widths(*(max(part._width(name) for part in parts) for name in _Widths._fields))
        made: dict[str, object] = {}
        for name in {name: None for part in parts for name in part.raw}:
            kind, values = KINDS[name], [part._entry(name) for part in parts]
            if kind is Kind.IMAGES:
                continue
            if kind is Kind.WHOLE or values[0] is None:
                made[name] = values[0]
            elif isinstance(values[0], Tensor):
                fill = pad_id if name in _PADDED_WITH_PAD else 0
                padded = _alike([part._padded(name, widths, fill) for part in parts])
                made[name] = torch.cat([one.to(padded[0].dtype) for one in padded])[places]
            else:
                together = [one for value in values for one in value]
                made[name] = [together[place] for place in places]
        if any("pixel_values" in part.raw for part in parts):
            images = [image for part in parts for image in part.images()]
            made |= joined([images[place] for place in places])
        return cls(made)

    def trimmed(self, multiple: int = 1) -> Batch:
        """Without the columns that are padding in every row; widths stay multiples of `multiple`."""
        prompts, completions = self.raw["prompt_mask"].sum(dim=1), self.raw["completion_mask"].sum(dim=1)
        widest = [int(lengths.max()) for lengths in (prompts, completions)]
        left, right = (
            max(0, width - multiple * max(1, ceil(length / multiple)))
            for width, length in zip((self.raw["prompt_ids"].shape[1], self.width), widest, strict=True)
        )
        cut = {
            Kind.PROMPT: slice(left, None), Kind.COMPLETION: slice(0, self.width - right),
            Kind.SEQUENCE: slice(left, self.sequences[0].shape[1] - right),
        }  # fmt: skip
        entries = {
            name: value for name, value in self.raw.items() if KINDS[name] in cut and not _is_per_row(name, value)
        }
        return self.having(**{name: value[:, cut[KINDS[name]]] for name, value in entries.items()})

    def _entry(self, name: str) -> Any:
        """An entry; where no row has an image TRL leaves out what goes with images, and this stands for it."""
        if name not in self.raw and KINDS[name] is Kind.SEQUENCE:
            return torch.zeros_like(self.sequences[0])  # every token is text
        if name not in self.raw and name in ("num_images", "num_tiles"):  # where images are one tile, TRL counts none
            return self.raw.get("num_images") or [0] * len(self)
        if name == "teacher_pictures" and name not in self.raw:  # teachers see what the student sees
            return [fields_of(image) for image in self.images()]
        return self.raw.get(name)

    def _width(self, name: str) -> int:
        return self.raw[name].shape[1] if name in self.raw else 0

    def _padded(self, name: str, widths: _Widths, fill: int) -> Tensor:
        value, kind = self._entry(name), KINDS[name]
        if kind is Kind.ROW or _is_per_row(name, value):
            return value
        more = {wanted: getattr(widths, wanted) - self._width(wanted) for wanted in _Widths._fields}
        left = more["prompt_ids"] if kind in (Kind.PROMPT, Kind.SEQUENCE) else 0
        right = more["completion_ids"] if kind in (Kind.COMPLETION, Kind.SEQUENCE) else 0
        right = more["teacher_ids"] if kind is Kind.TEACHER else right
        return torch.nn.functional.pad(value, (left, right), value=fill)


class _Widths(NamedTuple):
    """Padded lengths."""

    prompt_ids: int
    completion_ids: int
    teacher_ids: int


def _is_per_row(name: str, value: Tensor) -> bool:
    """One number for each row, not a token: vLLM's importance ratio of a whole sequence is (B, 1)."""
    return value.dim() == 1 or (name == "importance_sampling_ratio" and value.shape[1] == 1)


def _alike(parts: Sequence[Tensor]) -> list[Tensor]:
    """One number for each row against one for each token: the row's holds for all of its tokens."""
    if all(part.dim() == 1 for part in parts):
        return list(parts)
    columns = [part[:, None] if part.dim() == 1 else part for part in parts]
    width = max(part.shape[1] for part in columns)
    return [part.expand(-1, width) for part in columns]


def _unpadded(ids_BT: Tensor, mask_BT: Tensor, rows: Sequence[int] | None = None) -> list[list[int]]:
    if rows is not None:
        ids_BT, mask_BT = ids_BT[list(rows)], mask_BT[list(rows)]
    return [ids_T[kept_T].tolist() for ids_T, kept_T in zip(ids_BT.cpu(), mask_BT.bool().cpu(), strict=True)]
