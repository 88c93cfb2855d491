"""`cepo eval --suite`: benchmarks through lmms-eval, and the paper's table."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cepo.cli.console import say
from cepo.errors import SettingError

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `cepo eval` understands with `--suite` only."""
    suite = parser.add_argument_group("with --suite (docs/evaluation.md)")
    suite.add_argument("--lmms-python", type=Path, help="Python of lmms-eval's environment (default: CEPO_LMMS_PYTHON)")
    suite.add_argument("--backend", default="qwen3_vl", help="lmms-eval's model class, e.g. qwen3_vl or vllm")
    suite.add_argument("--model-args", default="", help="more for it: key=value,key=value")
    suite.add_argument("--device", default="cuda", help="cuda or cpu")
    suite.add_argument("--processes", type=int, default=1, help="data-parallel processes, one GPU each")
    suite.add_argument("--published", type=Path, help="CSV of published rows: row, one column per benchmark")
    suite.add_argument("--dry-run", action="store_true", help="print lmms-eval's command lines only")


def run(options: argparse.Namespace) -> int:
    """0: every benchmark has a result; 1: some failed, the table holds the others."""
    from cepo.lab.suite import SUITES, Settings, run_suite
    from cepo.lab.suite.environment import find_python
    from cepo.lab.suite.run import planned_commands
    from cepo.lab.suite.table import make_table, read_published, save_table, to_markdown

    suite = SUITES[options.suite]
    published = None if options.published is None else read_published(options.published, suite)
    settings = Settings(
        python=find_python(options.lmms_python),
        backend=options.backend,
        device=options.device,
        batch_size=1 if options.batch_size is None else options.batch_size,
        processes=options.processes,
        max_new_tokens=suite.max_new_tokens if options.max_new_tokens is None else options.max_new_tokens,
        limit=options.limit,
        model_args=_pairs(options.model_args),
    )
    out = options.out or Path("runs") / "suite" / suite.name
    if options.dry_run:
        print("\n".join(shlex.join(command) for command in planned_commands(suite, options.models, settings, out)))
        return 0
    outcomes = run_suite(suite, options.models, settings, out, say)
    table = make_table(suite, outcomes, published)
    save_table(table, out)
    print(to_markdown(table))
    say(f"wrote {out / 'table'}.md, .csv and .json")
    failed = sum(outcome.measured is None for outcome in outcomes)
    if failed:
        say(f"{failed} of {len(outcomes)} benchmarks failed; the same command runs those again and keeps the others")
    return 1 if failed else 0


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise SettingError(f"--model-args: expected key=value,key=value, got {text!r}")
    return tuple((key, value) for key, _, value in pairs)
