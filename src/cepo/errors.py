"""What can go wrong for a user: one tree, whose leaves keep the standard base class that a script may catch.

Every message names the value and says what to do. The command line prints it and exits with 2;
any other exception is a bug of ours or of a library, and the command line says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

__all__ = [
    "CepoError", "DataError", "GraderError", "ModelError", "OutOfMemory", "PackageError", "RecordError", "RewardError",
    "RuleError", "RunFolderError", "SettingError", "TeacherError", "did_you_mean",
]  # fmt: skip

_SIMILAR = 0.4


class CepoError(Exception):
    """Something that the user can mend."""


class SettingError(CepoError, ValueError):
    """A field of a recipe or an experiment, an option, or an argument of the public face cannot be used."""


class DataError(CepoError, ValueError):
    """Problems, images or gold answers that cannot be read or used."""


class RuleError(CepoError, ValueError):
    """A credit rule that there is not, that is declared wrongly, or that returned what it must not."""


class RecordError(CepoError, ValueError):
    """Saved records (traces, metrics, generations, results) that are missing, damaged, or of a newer version."""


class ModelError(CepoError, OSError, ValueError):
    """A model, an adapter or a processor that cannot be loaded, or that does not fit its use."""


class RunFolderError(CepoError, OSError, ValueError):
    """A folder that cannot be written, that is no run, or that holds another run."""


class PackageError(CepoError, ImportError):
    """A package that this use needs is not installed, or has the wrong version."""


class OutOfMemory(CepoError, RuntimeError):
    """The machine's memory does not hold what a run does at once; the message says which setting to change."""


class RewardError(CepoError, RuntimeError):
    """A reward function failed, took too long, or returned what is no reward."""


class TeacherError(CepoError, RuntimeError):
    """A teacher on a server that does not answer, or not with what it was asked for."""


class GraderError(CepoError, RuntimeError):
    """The grader's own process cannot run."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known name that is most similar, to end a message with; `""` where none is."""
    matcher = SequenceMatcher()
    matcher.set_seq2(name.lower())

    def similarity(other: str) -> float:
        matcher.set_seq1(other.lower())
        return matcher.ratio()

    near = max(known, key=similarity, default="")
    return f"; did you mean {near!r}?" if near and similarity(near) >= _SIMILAR else ""
