r"""math-verify's comparisons, in a process of their own that can be killed. Run as a script by `cepo.answers.pool`.

It imports nothing of cepo, reads one question at a time from the pipe whose number is its argument, and
answers it. A worker that is late ends itself, should its caller have died.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

__all__: list[str] = []

_MEMORY_BYTES = 2 * 1024**3
_DIGITS = 60


def _same_expression() -> Callable[..., bool]:
    """The comparison of two answers that our own parser cannot read."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    # Units and boxes are `cepo.answers`' business; a second opinion here would be a second grader.
    latex = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
    config = [LatexExtractionConfig(normalization_config=latex, boxed_match_priority=-1)]

    def judge(candidate: str, gold: str) -> bool:
        ours, theirs = (
            parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=0) for text in (candidate, gold)
        )
        if not (ours and theirs):
            return False
        accepted = verify(theirs, ours, float_rounding=12, allow_set_relation_comp=True, timeout_seconds=0)
        return bool(accepted) and _confirmed(ours[0], theirs[0])

    judge(r"\sqrt{8}", r"2\sqrt{2}")
    return judge


def _confirmed(ours: Any, theirs: Any) -> bool:
    """A second look at what was accepted: numbers are compared to few digits there, so that 1e-30 equals 0."""
    import sympy

    if ours == theirs:
        return True
    matrices: Any = sympy.MatrixBase
    if isinstance(ours, matrices) and isinstance(theirs, matrices):
        return ours.shape == theirs.shape and all(map(_confirmed, ours, theirs))
    expressions: Any = sympy.Expr
    if not (isinstance(ours, expressions) and isinstance(theirs, expressions)):
        return False
    symbols = sorted(ours.free_symbols | theirs.free_symbols, key=str)
    for point in range(3):
        values = {symbol: sympy.Rational(7 + 2 * point + 3 * place, 5) for place, symbol in enumerate(symbols)}
        a, b = (sympy.N(side.subs(values).doit(), _DIGITS) for side in (ours, theirs))
        if not (a.is_number and b.is_number) or abs(a - b) > sympy.Float(10, _DIGITS) ** (-_DIGITS // 2) * abs(b):
            return False
    return True


def _trl_accuracy() -> Callable[..., bool | None]:
    """TRL's accuracy reward for one completion: None where the gold answer cannot be parsed."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    anchored = LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=True),
        boxed_match_priority=0,
        try_extract_without_anchor=False,
    )

    def judge(completion: str, gold: str) -> bool | None:
        expected = parse(gold, parsing_timeout=0)
        if not expected:
            return None
        found = parse(completion, [anchored], extraction_mode="first_match", parsing_timeout=0)
        return bool(verify(expected, found, timeout_seconds=0))

    judge(r"\boxed{\sqrt{8}}", r"$2\sqrt{2}$")
    return judge


_JUDGES: dict[str, Callable[[], Callable[..., bool | None]]] = {
    "same_expression": _same_expression,
    "trl_accuracy": _trl_accuracy,
}


def _serve(pipe: Connection) -> None:
    """Answer questions until the caller hangs up."""
    import logging
    import resource

    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses the limit; the timeout still holds
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default action ends the process, C code or not
    judges = {}
    try:
        judges["same_expression"] = _same_expression()
    except Exception as error:
        pipe.send_bytes(repr(error).encode())
        return
    pipe.send_bytes(b"ready")
    with contextlib.suppress(EOFError, OSError):
        while True:
            kind, candidate, gold, limit_s = json.loads(pipe.recv_bytes())
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            try:
                judge = judges.get(kind) or judges.setdefault(kind, _JUDGES[kind]())
                verdict = judge(candidate, gold)
            except Exception:  # sympy raises whatever it likes on text that is no mathematics
                verdict = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send_bytes(json.dumps(verdict).encode())


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
