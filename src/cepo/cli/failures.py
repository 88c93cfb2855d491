"""What a command that failed says in one sentence: the user's mistake, the machine's limit, or a bug."""

from __future__ import annotations

from cepo.errors import CepoError
from cepo.runs.out_of_memory import advice, is_out_of_memory

__all__ = ["BUG", "WRONG_INPUT", "explain"]

BUG, WRONG_INPUT = 1, 2


def explain(error: Exception) -> tuple[str, int]:
    """The line to print and the exit code."""
    if is_out_of_memory(error):
        reason = str(error).partition("\n")[0].rstrip(".")
        return f"cepo: error: out of memory ({reason}); {advice(None)}", WRONG_INPUT
    if "EADDRINUSE" in str(error):
        return (
            f"cepo: error: {str(error).partition(chr(10))[0].rstrip('.')}: another run on this machine has the port; "
            "give another (accelerate launch --main_process_port; cepo launch --main-port)"
        ), WRONG_INPUT
    if isinstance(error, (CepoError, OSError)) or _is_missing_package(error):
        return f"cepo: error: {error}", WRONG_INPUT
    message = f"{type(error).__name__}: {error}".strip().partition("\n")[0].rstrip(".")
    return (
        f"cepo: {message}. This is a bug in cepo or in a library, not a wrong input: run the command again with "
        "CEPO_TRACEBACK=1, and report what it prints in cepo's issue tracker"
    ), BUG


def _is_missing_package(error: Exception) -> bool:
    """A package of others is not installed, or not in the version that something asks for."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] != "cepo"
