"""Writes costs.md from `cepo doctor --table`, so that it cannot go stale (a test compares).

python docs/make_costs.py
"""

from __future__ import annotations

from pathlib import Path

from cepo.runs.cost_table import table_lines

HEAD = """# What a step takes

<!-- Written by docs/make_costs.py; do not edit. -->

`cepo doctor --config RECIPE` says the same of your own recipe; what to turn is
[here](recipes.md#what-to-turn-when-it-does-not-fit).

"""


def text() -> str:
    """The page."""
    return HEAD + "\n".join(table_lines()) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("costs.md").write_text(text())
