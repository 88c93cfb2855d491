"""The lab's one table writer: what is missing stays missing, numbers stay whole."""

from __future__ import annotations

import json

import pandas as pd

from cepo.lab.tables import csv_text, markdown, records

FRAME = pd.DataFrame({"name": ["a", "b"], "share": [1 / 3, None], "note": [None, "cut, short"]})


def test_csv_has_whole_numbers_and_empty_gaps() -> None:
    assert csv_text(FRAME) == 'name,share,note\na,0.3333333333333333,\nb,,"cut, short"\n'
    assert csv_text(FRAME, digits=3).splitlines()[1] == "a,0.333,"


def test_records_are_plain_values() -> None:
    found = records(FRAME.assign(count=[3, 4]))
    assert json.loads(json.dumps(found)) == found
    assert found[1] == {"name": "b", "share": None, "note": "cut, short", "count": 4}


def test_markdown_is_one_line_per_row() -> None:
    frame = pd.DataFrame([["a", "1.0"], ["b", "2.0"]], columns=["", "share"])
    assert markdown(frame) == ["|  | share |", "|---|---|", "| a | 1.0 |", "| b | 2.0 |"]
