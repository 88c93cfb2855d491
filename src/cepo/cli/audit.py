"""`cepo audit`: does the credit land where it should?"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cepo.cli import grading
from cepo.cli.console import Commands, add_command, say
from cepo.cli.evaluate import MODEL_HELP
from cepo.errors import SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from cepo.lab.audit.problems import AuditProblem
    from cepo.lab.audit.run import AuditResult
    from cepo.lab.audit.settings import AuditSettings
    from cepo.models.loading import Processor

__all__ = ["add"]

PROBLEMS, QUICK_PROBLEMS = 100, 10

_COMPLETIONS = (
    'audit these rollouts and sample none: JSON lines with "id" (the data\'s) and "completion" (text); not with '
    "--rollouts. Monte-Carlo values still sample from the model; groups of other sizes are left out"
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "audit", "does the credit land on decisive tokens?", "cepo audit tiny-text --data chain --quick"
    )
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--data", default="geometry", help="`geometry`, `chain`, a local file or folder, or a hub id")
    parser.add_argument("--split", default=None, help="default: validation of geometry, train of other data")
    parser.add_argument(
        "--problems", type=int, default=None, help="default: 100; of a file that completions are given for, all"
    )
    parser.add_argument(
        "--rollouts", type=int, default=None, help="per problem: the group that references come from (default: 8)"
    )
    parser.add_argument("--completions", type=Path, default=None, metavar="FILE", help=_COMPLETIONS)
    parser.add_argument("--method", nargs="+", default=None, metavar="NAME", help="e.g. rlsd cepo-own (default: all)")
    parser.add_argument("--parts", nargs="+", default=None, help="of labelled montecarlo null sensitivity")
    parser.add_argument(
        "--teacher", default=None, help="other weights to audit as the teacher's, beside the model's own"
    )
    parser.add_argument("--mc-problems", type=int, default=None, help="problems with Monte-Carlo values")
    parser.add_argument("--continuations", type=int, default=None, help="K of each Monte-Carlo value")
    parser.add_argument(
        "--null-rollouts", type=int, default=None, help="rollouts with null references: dead zones come of them too"
    )
    parser.add_argument("--sensitivity-problems", type=int, default=None, help="problems with groups of 32")
    parser.add_argument("--max-new-tokens", type=int, default=None)
    parser.add_argument("--reference-max-tokens", type=int, default=None, help="of a told solution (default: all)")
    parser.add_argument("--clip", type=float, default=None, help="eps_w of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few problems: to see it run, not to read the numbers")
    parser.add_argument("--out", type=Path, default=Path("audit"), help="folder of audit.md, .csv, .json and .png")
    grading.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.data.sources import is_procedural
    from cepo.lab.audit.run import run_audit
    from cepo.lab.audit.settings import AuditSettings, quick
    from cepo.lab.audit.variants import grid, select
    from cepo.trainer.checks import check_folder

    given = {
        "rollouts": options.rollouts,
        "methods": options.method,
        "parts": options.parts,
        "mc_problems": options.mc_problems,
        "continuations": options.continuations,
        "null_rollouts": options.null_rollouts,
        "sensitivity_problems": options.sensitivity_problems,
        "max_new_tokens": options.max_new_tokens,
        "reference_max_tokens": options.reference_max_tokens,
        "clip": options.clip,
    }
    settings = AuditSettings(seed=options.seed, grading=grading.grading_of(options, options.model))
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    if options.quick:
        settings = quick(settings)
    select(grid(other_teacher=options.teacher is not None), settings.methods)
    check_folder(options.out)
    split = options.split or ("validation" if is_procedural(options.data) else "train")
    problems = _problems(options, settings, split)
    model, processor = _on_device(options.model)
    teacher = None if options.teacher is None else _on_device(options.teacher)[0]
    started = time.time()
    result = run_audit(settings, problems, model, teacher, processor, say)
    about = {
        "command": f"cepo {shlex.join(sys.argv[1:])}",
        "model": options.model,
        "teacher": options.teacher,
        "data": f"{options.data} ({split})",
        "settings": asdict(settings),
        "seconds": round(time.time() - started),
        "versions": _versions(),
    }
    _write(result, about, options.out)
    return 0


def _problems(options: argparse.Namespace, settings: AuditSettings, split: str) -> list[AuditProblem]:
    """What is audited; with completions the problems that they are of."""
    from cepo.data.datasets import DataSpec
    from cepo.data.sources import is_procedural
    from cepo.lab.audit.given import read_completions, with_completions
    from cepo.lab.audit.problems import load_problems

    spec = DataSpec(options.data, split=split, limit=options.problems, seed=options.seed, grading=settings.grading)
    if options.completions is None:
        count = PROBLEMS if options.problems is None else options.problems
        spec = replace(spec, limit=min(count, QUICK_PROBLEMS) if options.quick else count)
        return load_problems(spec, settings.wrong_worked)
    if options.rollouts is not None:
        raise SettingError("--rollouts samples so many, --completions says which there are: leave one of them out")
    completions = read_completions(options.completions)
    if options.problems is None and is_procedural(options.data):
        spec = replace(spec, limit=PROBLEMS)
    problems = with_completions(load_problems(spec, settings.wrong_worked), completions)
    return problems[:QUICK_PROBLEMS] if options.quick else problems


def _on_device(name: str) -> tuple[PreTrainedModel, Processor]:
    import torch

    from cepo.models.loading import load_checkpoint

    model, processor = load_checkpoint(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device), processor  # pyright: ignore[reportArgumentType]


def _write(result: AuditResult, about: dict[str, object], folder: Path) -> None:
    from cepo.lab.audit.blame_picture import draw_blame
    from cepo.lab.audit.findings import findings
    from cepo.lab.audit.picture import draw
    from cepo.lab.audit.table import as_csv, as_json, as_markdown
    from cepo.runs.folder import write_atomically

    told = findings(result)
    write_atomically(folder / "audit.md", as_markdown(result, about, told))
    write_atomically(folder / "audit.csv", as_csv(result.ledger))
    write_atomically(folder / "audit.json", as_json(result, about, told))
    title = f"{about['model']} on {about['data']}"
    draw(result, title, folder / "audit.png")
    drawn = draw_blame(result, title, folder / "blame.png")
    print("\n".join(line.replace("**", "") for line in told))
    files = ["audit.md", "audit.csv", "audit.json", "audit.png", *(["blame.png"] if drawn else [])]
    print(f"\nwrote {folder}/{', '.join(files)} ({about['seconds']} s)")


def _versions() -> dict[str, str | None]:
    import platform
    from importlib.metadata import version

    from cepo.runs.folder import git_revision

    packages = {name: version(name) for name in ("cepo", "torch", "transformers", "numpy")}
    return {**packages, "python": platform.python_version(), "git": git_revision()}
