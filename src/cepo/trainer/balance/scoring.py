"""Sequences are scored where there is time for them, and their log-probs come home."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from cepo.scoring import ScoreRow
from cepo.trainer.balance.exchange import exchange
from cepo.trainer.balance.share import Load, loads, share
from cepo.trainer.batch_images import fields_of, images_of_prompt

__all__ = ["Score", "score_shared"]

WORTH_A_MOVE = 256
"""Tokens that a move has to save the busiest process: less is not worth what is sent."""

Score = Callable[[Sequence[ScoreRow], int], Tensor]
"""Sequences and a width -> a number of each completion token, (N, width)."""


def score_shared(sequences: Sequence[ScoreRow], width: int, score: Score, accelerator: Accelerator) -> Tensor:
    """What `score` gives for this process's sequences, (N, width), wherever each was scored. A collective call."""
    me = accelerator.process_index
    moves = share(cast(list[list[Load]], gather_object([loads(sequences)])), WORTH_A_MOVE)
    if not moves:
        return score(sequences, width)
    leaving: dict[int, list[int]] = {}
    for move in moves:
        if move.source == me:
            leaving.setdefault(move.to, []).extend(move.indices)
    came = exchange({to: _packed([sequences[index] for index in own]) for to, own in leaving.items()}, accelerator)
    guests = {source: _unpacked(parcel, source) for source, parcel in came.items()}
    gone = {index for own in leaving.values() for index in own}
    here = [index for index in range(len(sequences)) if index not in gone]

    visiting = [row for own in guests.values() for row in own]
    found_NT = score([*(sequences[index] for index in here), *visiting], max(width, _longest(visiting)))
    back, start = {}, len(here)
    for source, own in guests.items():
        back[source] = found_NT[start : start + len(own), : _longest(own)].clone()
        start += len(own)
    home_NT = found_NT.new_zeros(len(sequences), width)
    home_NT[here] = found_NT[: len(here), :width]
    for to, scored_NT in exchange(back, accelerator).items():
        home_NT[leaving[to], : scored_NT.shape[1]] = scored_NT
    return home_NT


def _longest(rows: Sequence[ScoreRow]) -> int:
    return max((len(row.completion_ids) for row in rows), default=0)


def _packed(rows: Sequence[ScoreRow]) -> dict[str, Any]:
    """The rows as plain lists; the images of a group once."""
    numbers: dict[Hashable, int] = {}
    images: dict[int, dict[str, Tensor]] = {}
    packed = []
    for index, row in enumerate(rows):
        number = numbers.setdefault(("alone", index) if row.group is None else row.group, len(numbers))
        packed.append((list(row.prompt_ids), list(row.completion_ids), number))
        if row.images is not None and number not in images:
            images[number] = cast(dict[str, Tensor], fields_of(row.images))
    return {"rows": packed, "images": images}


def _unpacked(parcel: Mapping[str, Any], source: int) -> list[ScoreRow]:
    images = {number: images_of_prompt(fields) for number, fields in parcel["images"].items()}
    return [
        ScoreRow(prompt, completion, images.get(number), ("of", source, number))
        for prompt, completion, number in parcel["rows"]
    ]
