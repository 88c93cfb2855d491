"""What goes from one process to another is what that one needs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from cepo.scoring import ScoreRow
from cepo.trainer.balance import scoring
from cepo.trainer.balance.exchange import _packed, exchange
from cepo.trainer.balance.share import loads
from cepo.trainer.batch_images import images_of_rows, same_images
from tests.pair import on_two


def test_one_sequence_takes_its_own_image_along_and_no_other() -> None:
    """`images_of_rows` gives views, and torch.save writes a view's whole storage."""
    raw = {
        "prompt_ids": torch.zeros(32, 1), "pixel_values": torch.randn(32 * 64, 1536),
        "image_grid_thw": torch.tensor([[1, 8, 8]] * 32), "num_images": [1] * 32,
    }  # fmt: skip
    images: Any = images_of_rows(raw)[5]
    parcel = _packed(scoring._packed([ScoreRow([1, 2], [3], images, (0, False))]))
    assert len(parcel) < 2 * 4 * images.pixel_values.numel()  # 12.6 MB where its image has 0.4


def test_sequences_come_out_as_they_went_in() -> None:
    raw = {
        "prompt_ids": torch.zeros(2, 1), "pixel_values": torch.randn(12, 4),
        "image_grid_thw": torch.tensor([[1, 2, 2], [1, 2, 4]]), "num_images": [1, 1],
    }  # fmt: skip
    images = images_of_rows(raw)
    rows = [
        ScoreRow([1, 2], [3], images[0], "a"), ScoreRow([1, 4], [5, 6], images[0], "a"),
        ScoreRow([7], [8], None, "b"), ScoreRow([9], [1], images[1]), ScoreRow([9], [2]),
    ]  # fmt: skip
    came = scoring._unpacked(scoring._packed(rows), source=3)
    assert [(one.prompt_ids, one.completion_ids) for one in came] == [(r.prompt_ids, r.completion_ids) for r in rows]
    assert all(same_images(one.images, row.images) for one, row in zip(came, rows, strict=True))
    groups = [one.group for one in came]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4


@pytest.mark.slow
def test_nothing_and_something_arrive(tmp_path: Path) -> None:
    def work(rank: int, folder: Path) -> list[Any]:
        accelerator = Accelerator(cpu=True)
        both = exchange({1 - rank: {"x": torch.arange(3 + rank), "n": [rank, None]}}, accelerator)
        one = exchange({1: "text"} if rank == 0 else {}, accelerator)
        return [{source: (parcel["x"].tolist(), parcel["n"]) for source, parcel in both.items()}, one]

    first, second = (one.value for one in on_two(work, tmp_path, seconds=60))
    assert first == [{1: ([0, 1, 2, 3], [1, None])}, {}]
    assert second == [{0: ([0, 1, 2], [0, None])}, {0: "text"}]


def test_guests_of_several_processes_go_home_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of three processes, which the two others give a sequence each; a score is the prompt's first token."""
    home = [ScoreRow([5], [1, 1])]
    theirs = {1: [ScoreRow([7], [1] * 300), ScoreRow([8], [1] * 300)], 2: [ScoreRow([9], [1] * 400)] * 2}
    sent: list[dict[int, Any]] = []

    def exchanged(parcels: dict[int, Any], accelerator: Any) -> dict[int, Any]:
        sent.append(parcels)
        return {source: scoring._packed(rows[:1]) for source, rows in theirs.items()} if len(sent) == 1 else {}

    monkeypatch.setattr(scoring, "gather_object", lambda own: [*own, *map(loads, theirs.values())])
    monkeypatch.setattr(scoring, "exchange", exchanged)

    def score(rows: Any, width: int) -> torch.Tensor:
        return torch.tensor([[float(row.prompt_ids[0])] * width for row in rows])

    accelerator: Any = SimpleNamespace(process_index=0)
    assert scoring.score_shared(home, 2, score, accelerator).tolist() == [[5.0, 5.0]]
    assert sent[0] == {}
    assert {to: (own.shape, own.unique().tolist()) for to, own in sent[1].items()} == {
        1: ((1, 300), [7.0]),
        2: ((1, 400), [9.0]),
    }
