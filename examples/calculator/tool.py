"""The tool: a calculator that counts modulo ten. It reads one form of text, and never runs any."""

from __future__ import annotations

import re

from cepo import TOOLS

_SUM = re.compile(r"([0-9]{1,3}) ?([+-]) ?([0-9]{1,3})")


def calculator(expression: str) -> str:
    """Add or subtract two numbers, modulo ten.

    Args:
        expression: Two numbers of at most three digits with + or - between them, such as 7+3.

    Returns:
        The digit; of any other text the word error, which the model reads in its place.
    """
    match = _SUM.fullmatch(expression) if isinstance(expression, str) else None
    if match is None:
        return "error"
    left, sign, right = int(match[1]), match[2], int(match[3])
    return str((left + right if sign == "+" else left - right) % 10)


TOOLS["calculator"] = calculator  # what a recipe calls it (`method_files`, `tools`)
