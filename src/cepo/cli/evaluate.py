"""`cepo eval`: how often a model is right, on any local benchmark or on the paper's."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cepo.cli import grading, suite
from cepo.cli.console import Commands, add_command
from cepo.errors import SettingError

if TYPE_CHECKING:
    from cepo.answers import Grading
    from cepo.data.datasets import DataSpec
    from cepo.evaluate import Generation

__all__ = ["add"]

_SPLIT = "held_out"
_EXAMPLE = "cepo eval tiny-text --data chain"

MODEL_HELP = "`tiny`, `tiny-text`, `tiny-figures`, a hub id, or the folder of a model, an adapter or a run"


def add(commands: Commands) -> None:
    parser = add_command(commands, "eval", "how often a model is right: pass@1 and pass@k, intervals", _EXAMPLE)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=MODEL_HELP + "; several with --suite")
    parser.add_argument(
        "--data",
        default=None,
        help="`geometry`, `chain`, a local file or folder, or a hub id (default: the run's, or geometry)",
    )
    parser.add_argument(
        "--like", type=Path, default=None, metavar="RUN",
        help="ask and grade as this run does (data, chat template's arguments, length, stops), whatever MODEL is",
    )  # fmt: skip
    parser.add_argument("--split", default=None, help="default: the run's, or held_out")
    parser.add_argument("--category", default=None, help="column of the data to report by (default: `family`)")
    parser.add_argument("--limit", type=int, default=None, help="problems (default: 500 of geometry, else all)")
    parser.add_argument("--samples", type=int, default=1, help="completions per problem")
    parser.add_argument("--temperature", type=float, default=1.0, help="0: greedy")
    parser.add_argument(
        "--max-new-tokens", type=int, default=None, help="default: the run's, or 64; 32000 with --suite paper"
    )
    parser.add_argument("--batch-size", type=int, default=None, help="answers at once (default: 64, with --suite 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="save every generation as JSONL; a folder with --suite")
    parser.add_argument("--regrade", type=Path, default=None, help="saved generations: grade and report them again")
    parser.add_argument("--suite", choices=("paper", "geometry"), default=None, help="benchmarks through lmms-eval")
    grading.add_options(parser)
    suite.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.suite is not None:
        if options.regrade is not None:
            raise SettingError("--regrade is for local benchmarks; --suite keeps every finished result by itself")
        if grading.given_grading(options) is not None:
            raise SettingError("--answer-format, --grader and --thinking-counts are for local benchmarks, not --suite")
        return suite.run(options)
    return _generate(options) if options.regrade is None else _regrade(options)


def _generate(options: argparse.Namespace) -> int:
    from cepo.data.datasets import load_data
    from cepo.evaluate import generate_answers, stops_of
    from cepo.models.loading import load_checkpoint
    from cepo.models.processor import fix_template_arguments
    from cepo.models.where import settings_of

    if len(options.models) != 1:
        got = f", got {len(options.models)} (several are for --suite)" if options.models else ""
        raise SettingError(f"give one MODEL{got}, for example: {_EXAMPLE}")
    if options.out is not None:
        _check_out(options.out)
    source = Path(options.models[0] if options.like is None else options.like).expanduser()
    of_run = settings_of(source)
    if options.like is not None and not of_run:
        raise SettingError(f"--like is a run folder, its model or one of its checkpoints; {source} belongs to no run")
    if of_run.get("tools"):
        raise SettingError(
            f"{source} was trained with tools ({', '.join(cast(list[str], of_run['tools']))}), and `cepo eval` asks "
            "for one turn, in which nobody answers a call; the run's own evaluations had them (eval/after.jsonl)"
        )
    graded = grading.grading_of(options, str(source))
    data = load_data(_data(options, of_run, graded))
    model, processor = load_checkpoint(options.models[0], trust_remote_code=bool(of_run.get("trust_remote_code")))
    fix_template_arguments(processor, cast(dict[str, object], of_run.get("chat_template_kwargs") or {}))
    generations = generate_answers(
        model,
        processor,
        data,
        samples=options.samples,
        temperature=options.temperature,
        max_new_tokens=_longest(options, of_run),
        batch_size=64 if options.batch_size is None else options.batch_size,
        seed=options.seed,
        autocast_bf16=False,
        grading=graded,
        stops=stops_of(of_run.get("generation_kwargs")),
    )
    if options.out is not None:
        _save(generations, options.out)
    _print(generations, options.samples)
    return 0


def _data(options: argparse.Namespace, of_run: Mapping[str, object], graded: Grading) -> DataSpec:
    """What is asked for; for a run without `--data`, what the run itself is evaluated on."""
    from cepo.data.datasets import DataSpec
    from cepo.data.sources import is_procedural
    from cepo.runs.problems import held_out_spec
    from cepo.runs.recipe import RunConfig

    columns = {} if options.category is None else {"family": options.category}
    if options.data is None and of_run.get("eval_data") is not None:
        known = {entry.name for entry in fields(RunConfig)}
        run = RunConfig(**{name: value for name, value in of_run.items() if name in known})  # pyright: ignore[reportArgumentType]
        spec = held_out_spec(run, graded)
        return replace(
            spec,
            split=options.split or spec.split,
            limit=spec.limit if options.limit is None else options.limit,
            columns={**spec.columns, **columns},
        )
    data = options.data or "geometry"
    limit = 500 if options.limit is None and is_procedural(data) else options.limit
    return DataSpec(data, split=options.split or _SPLIT, limit=limit, columns=columns, grading=graded)


def _longest(options: argparse.Namespace, of_run: Mapping[str, object]) -> int:
    if options.max_new_tokens is not None:
        return options.max_new_tokens
    return cast(int, of_run.get("max_completion_length") or 64)


def _save(generations: list[Generation], out: Path) -> None:
    from cepo.evaluate import save_generations
    from cepo.runs.lock import locked

    with locked(out.with_name(f".{out.name}.lock"), f"the file {out}", "choose another --out"):
        save_generations(generations, out)


def _regrade(options: argparse.Namespace) -> int:
    from cepo.evaluate import load_generations, regrade

    if options.models:
        raise SettingError(f"--regrade needs no model, got {options.models[0]!r}")
    if not options.regrade.is_file():
        raise SettingError(f"--regrade: there is no file {str(options.regrade)!r}; `cepo eval --out` writes one")
    before = load_generations(options.regrade)
    after = regrade(before, grading.given_grading(options))
    changed = sum(old.correct != new.correct for old, new in zip(before, after, strict=True))
    if options.out is not None:
        _check_out(options.out)
        _save(after, options.out)
    _print(after, max(Counter(generation.id for generation in after).values(), default=1))
    print(f"cepo: {changed} of {len(after)} verdicts changed", file=sys.stderr)
    return 0


def _print(generations: list[Generation], samples: int) -> None:
    from cepo.evaluate import format_families, format_report, report

    found = report(generations, samples)
    print(format_report(found))
    if (families := format_families(found)) is not None:
        print(f"\n{families}")


def _check_out(path: Path) -> None:
    """Raise OSError unless the generations can be saved: before they are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a"):
        pass
