"""One long row among many is found, wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from cepo.trainer.lengths import longest_rows

ROWS, COUNT = 300, 4


@pytest.mark.parametrize("place", [1, 77, 298])
@pytest.mark.parametrize("column", ["prompt", "solution", "images"])
def test_the_one_long_row_is_among_the_longest(column: str, place: int, processor: Any) -> None:
    def row(index: int) -> dict[str, Any]:
        long = index == place
        text = "why " * (50 if long and column == "prompt" else 2)
        side = 64 if long and column == "images" else 8
        return {
            "prompt": [{"role": "user", "content": text}],
            "solution": "so " * (50 if long and column == "solution" else 2),
            "images": [Pillow.new("RGB", (side, side))],
        }

    message = {"role": Value("string"), "content": Value("string")}
    features = Features({"prompt": List(message), "solution": Value("string"), "images": List(Image())})
    data = Dataset.from_list([row(index) for index in range(ROWS)], features=features)
    found = longest_rows(data, processor.tokenizer, {"solution", "not there"}, COUNT)
    assert place in found
    assert len(found) <= 3 * COUNT
