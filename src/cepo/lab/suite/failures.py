"""Why a benchmark failed, from lmms-eval's log, and what to do about it.

lmms-eval exits with 0 when a task fails: only its result file and its log tell.
"""

from __future__ import annotations

import re
from pathlib import Path

from cepo.lab.suite.tasks import Benchmark

__all__ = ["explain"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SAID = re.compile(r"Error during evaluation: (.+?)\. Please set `--verbosity=DEBUG`", re.DOTALL)
_RAISED = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception|Interrupt|NotFound)): (.+)$", re.MULTILINE)

_REMEDIES = (
    (
        r"out of memory",
        "the GPU's memory is full: a smaller --batch-size, or smaller images (--model-args max_pixels=602112 "
        "and a new --out)",
    ),
    (
        r"gated|401 Client|403 Client|LocalTokenNotFound|[Tt]oken is required",
        "{dataset} wants a Hugging Face login: accept its terms on the hub and run `hf auth login`",
    ),
    (
        r"[Oo]ffline|ConnectionError|[Cc]ouldn't (?:reach|connect)|resol(?:ve|ution)|LocalEntryNotFound",
        "{dataset} is not on this machine and the hub cannot be reached: `hf download --repo-type dataset {dataset}` "
        "where there is a network, and bring its cache here (HF_HOME)",
    ),
    (r"No module named '([\w.]+)'", "install what is missing into lmms-eval's environment"),
    (r"Tasks? (?:were )?not found", "this lmms-eval does not have the task: the suites are for version 0.7.3"),
    (r"No space left", "free disk space"),
    (
        r"division by zero",
        "lmms-eval's aggregation cannot do without a solved problem (WeMath: a mastered one): leave out --limit",
    ),
)
"""What the log's last error looks like, and what to do."""


def explain(log: Path, code: int, reason: str, benchmark: Benchmark) -> str:
    """One sentence: what went wrong, what to do, and where to read more.

    Args:
        code: the exit code of lmms-eval; negative for a signal.
        reason: what we found wrong with its results.
    """
    text = _COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else ""
    said = _last(text) or reason
    if code and said == reason:
        said = f"lmms-eval was ended by signal {-code}" if code < 0 else f"lmms-eval exited with code {code}"
    dataset = benchmark.dataset or "the data set"
    remedies = (advice for pattern, advice in _REMEDIES if re.search(pattern, said))
    remedy = next(remedies, "read the log").format(dataset=dataset)
    return f"{said}; {remedy}. Log: {log}"


def _last(text: str) -> str | None:
    """The last error that the log names, on one line."""
    # A retry's error only says that the one before it came again.
    if raised := [found for found in _RAISED.finditer(text) if not found[1].endswith("RetryError")]:
        return f"{raised[-1][1].rsplit('.', 1)[-1]}: {raised[-1][2].strip().rstrip('.')}"
    if said := list(_SAID.finditer(text)):
        return " ".join(said[-1][1].split())
    return None
