"""`make mutants`: what the tests of the method do not notice. Survivors and why they stand: docs/mutants.md.

mutmut changes one thing in a function of `cepo.credit` or `cepo.scoring` (`[tool.mutmut]` of pyproject.toml), and runs
the tests that call that function. This adds what mutmut has not: a seeded sample that is spread over the files, no
mutants of which only a message can differ, and two rounds, so that most mutants cost seconds: the quickest tests, then,
for what they let live, all the others.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from math import ceil
from pathlib import Path
from random import Random

import mutmut.__main__ as tool
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import (
    get_diff_for_mutant,
    read_mutant_function,
    read_mutants_module,
    read_original_function,
)
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from mutmut.workers.isolation import MutantRunner, get_mutant_runner

FOLDER = Path("mutants")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function, by mutmut's name."""

    name: str
    file: SourceFileMutationData

    @property
    def tests(self) -> list[str]:
        """The tests that call the function, quickest first."""
        tests = state().tests_by_mangled_function_name.get(mangled_name_from_mutant_name(self.name), set())
        return sorted(tests, key=lambda test: (state().duration_by_test[test], test))

    @property
    def diff(self) -> str:
        return get_diff_for_mutant(self.name, path=self.file.path)


@dataclass
class Result:
    """What became of the mutants that were run: status -> mutants."""

    by_status: dict[str, list[Mutant]] = field(default_factory=lambda: defaultdict(list))

    def page(self, command: str, left_out: int) -> str:
        """Counts, and the survivors with their changes, in Markdown."""
        revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout
        counts = ", ".join(f"{len(mutants)} {status}" for status, mutants in sorted(self.by_status.items()))
        lines = [f"`{command}` at {revision.strip()}: {counts}; {left_out} left out (messages, other cases)."]
        for status, mutants in self.by_status.items():
            if status not in ("killed", "not begun"):
                for mutant in sorted(mutants, key=lambda mutant: mutant.name):
                    lines += ["", f"## {status}: {mutant.name}", "", "```diff", mutant.diff.strip(), "```"]
        return "\n".join(lines) + "\n"


class _Silent(ast.NodeTransformer):
    """A function without what its errors say, and without capitals in its words."""

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        if isinstance(node.exc, ast.Call):
            node.exc = ast.Call(node.exc.func, [], [])
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(node.value.casefold()) if isinstance(node.value, str) else node


def behaviour(mutants: list[Mutant]) -> Iterator[Mutant]:
    """Those that differ in more than what an error says or in capitals ("XX" around a word is enough)."""
    by_file: dict[Path, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        by_file[Path(mutant.file.path)].append(mutant)
    for path, of_file in by_file.items():
        module = read_mutants_module(path)
        plain: dict[str, str] = {}
        for mutant in of_file:
            function = mangled_name_from_mutant_name(mutant.name)
            if function not in plain:
                plain[function] = _silent(module.code_for_node(read_original_function(module, mutant.name)))
            if _silent(module.code_for_node(read_mutant_function(module, mutant.name))) != plain[function]:
                yield mutant


def _silent(code: str) -> str:
    return ast.dump(_Silent().visit(ast.parse(code.strip())))


def sampled(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them (0: all), each file in turn, drawn without replacement."""
    rng, by_file = Random(seed), defaultdict(list)
    for mutant in sorted(mutants, key=lambda mutant: mutant.name):
        by_file[str(mutant.file.path)].append(mutant)
    for of_file in by_file.values():
        rng.shuffle(of_file)
    drawn = []
    while any(by_file.values()) and (not count or len(drawn) < count):
        for of_file in by_file.values():
            drawn += [of_file.pop()] if of_file else []
    return drawn[: count or None]


def run(mutants: list[Mutant], runner: MutantRunner, seconds: float, minutes: float) -> Result:
    """Each mutant against the tests that call its function, until one fails; none is begun after so many minutes."""
    result, end = Result(), time.monotonic() + 60 * minutes
    for number, mutant in enumerate(mutants, 1):
        if time.monotonic() > end:
            result.by_status["not begun"] = mutants[number - 1 :]
            break
        status = "no test calls it"
        for tests in rounds(mutant.tests, seconds):
            expected = sum(state().duration_by_test[test] for test in tests)
            runner.submit(mutant.name, tests, ceil(30 + 10 * expected), expected)
            code = runner.wait_for_result().exit_code
            status = status_by_exit_code[code]
            if status != "survived":
                break
        result.by_status[status].append(mutant)
        print(f"{number}/{len(mutants)} {status}: {mutant.name}", flush=True)
    return result


def rounds(tests: list[str], seconds: float) -> Iterator[list[str]]:
    """The quickest tests, of so many seconds together, then the others."""
    quick, total = 0, 0.0
    for test in tests:
        total += state().duration_by_test[test]
        if quick and total > seconds:
            break
        quick += 1
    yield from (part for part in (tests[:quick], tests[quick:]) if part)


def prepare(files: list[str], tests: list[str]) -> MutantRunner:
    """The mutated tree, and which tests call which function; both are kept in `mutants/` for the next time.

    But not for other files or tests: mutmut would take files that it has once copied for ones that it has changed.
    """
    config().only_mutate = files or config().only_mutate
    config().pytest_add_cli_args_test_selection = tests or config().pytest_add_cli_args_test_selection
    set_mutant_under_test("mutant_generation")
    made_of, words = FOLDER / "made_of.txt", "\n".join([*config().only_mutate, "", *tests])
    if not made_of.is_file() or made_of.read_text() != words:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    made_of.write_text(words)
    tool.copy_src_dir()
    tool.copy_also_copy_files()
    tool.setup_source_paths()
    tool.create_mutants(1)
    runner = get_mutant_runner(1)
    tool.collect_or_load_stats(runner, apply_config_invalidation=True)
    return runner


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/mutants", description=__doc__)
    parser.add_argument(
        "files", nargs="*", help="what is changed, as in src/cepo/credit/sources.py; else [tool.mutmut]"
    )
    parser.add_argument("--names", nargs="+", default=[], help="only these mutants, as in survivors.md; * is anything")
    parser.add_argument("--sample", type=int, default=400, help="how many; 0: all, which takes hours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no mutant is begun")
    parser.add_argument("--tests", nargs="+", default=[], help="files; else those of [tool.mutmut]")
    parser.add_argument("--seconds", type=float, default=10.0, help="of tests in the first round")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    args = arguments(words)
    # A failing draw is enough: it need not be made small.
    os.environ["PYTEST_ADDOPTS"] = "--hypothesis-profile=mutants -p no:cacheprovider -p no:unraisableexception"
    runner = prepare(args.files, args.tests)
    everything, _ = tool.collect_source_file_mutation_data(mutant_names=())
    named = [Mutant(name, file) for file, name, _ in everything]
    if args.names:
        named = [mutant for mutant in named if any(fnmatch(mutant.name, name) for name in args.names)]
    chosen = sampled(named := list(behaviour(total := named)), args.sample, args.seed)
    runner.startup()
    result = run(chosen, runner, args.seconds, args.minutes)
    page = result.page(" ".join(["python tests/mutants", *words]), len(total) - len(named))
    (FOLDER / "survivors.md").write_text(page)
    print(page.splitlines()[0], "See mutants/survivors.md", sep="\n")
    print(Counter({status: len(mutants) for status, mutants in result.by_status.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
