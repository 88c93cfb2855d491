"""Every call on which processes wait for each other is listed here, with what makes all of them get there.

A process that does not come to a collective call leaves the others waiting for ever. So a new one fails this test until
it is listed, with the reason why all processes take the same branch and with the test that runs it on two processes.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from accelerate import Accelerator

import cepo
from cepo.trainer.internals import HostTrainer
from tests.pair import on_two

SOURCE = Path(cepo.__file__).parent
TESTS = Path(__file__).parents[1]

OF_ACCELERATOR = {
    "gather", "gather_for_metrics", "reduce", "broadcast", "pad_across_processes", "wait_for_everyone",
    "get_state_dict", "main_process_first", "local_main_process_first", "split_between_processes", "save_state",
    "load_state",
}  # fmt: skip
"""Methods that are collective on an Accelerator, whose name or attribute ends with `accelerator`."""

ANYWHERE = {
    "gather_object", "broadcast_object_list", "broadcast_", "all_gather", "all_reduce", "all_gather_object", "barrier",
    "all_to_all", "all_to_all_single", "reduce_scatter", "gather_into_tensor", "all_gather_into_tensor",
    "monitored_barrier",
    "unwrap_model_for_generation", "summon_full_params", "GatheredParameters", "unshard", "full_tensor",
    "scatter_object_list",
}  # fmt: skip
"""Functions and methods of accelerate, torch.distributed, FSDP and DeepSpeed: by name, called or handed on."""

DISTRIBUTED = "trainer/test_distributed.py::test_two_processes_equal_one"
UNLIKE = "trainer/test_unlike_processes.py::test_unlike_data"
DISTIL = "trainer/test_two_distil.py::test_every_process_gives_every_weight_a_gradient"
SHARDED = "trainer/test_sharded_teachers.py::test_copies_of_shards_teach_as_whole_ones_do"
SHARED = "trainer/balance/test_on_two.py::test_shared_work_trains_alike"
STOP = "runs/test_lifecycle.py::test_two_processes_stop_and_go_on"
TABLE = "trainer/test_collectives.py::test_a_table_has_the_rows_of_all_processes"
REST = "trainer/test_sampling.py::test_two_processes_know_the_same"
EVALUATE = "runs/test_many_processes.py::test_two_processes_evaluate_as_one"

LISTED: dict[str, tuple[list[str], str, str]] = {
    "trainer/internals.py:HostTrainer._complete": (["wait_for_everyone"], "not where one saves alone", STOP),
    "trainer/internals.py:HostTrainer.boundary": (["gather_object"], "a step's end, with several processes", STOP),
    "trainer/for_generation.py:policy_for_generation": (
        ["unwrap_model_for_generation"] * 2,  # the first asks for its signature alone
        "an evaluation",
        EVALUATE,
    ),
    "trainer/internals.py:HostTrainer.log_table": (["gather_object"], "a setting: log_completions", TABLE),
    "trainer/internals.py:HostTrainer.save_whole": (["get_state_dict"], "FSDP, once the training has ended", EVALUATE),
    "trainer/stopping.py:StopAtStep.step_ended": (["gather_object"], "a step's end, with several processes", STOP),
    "trainer/trainer.py:CEPOTrainer.loss_of": (["gather"], "a setting: opsd, sdpo; in training", DISTIL),
    "trainer/trainer.py:CEPOTrainer._with_credit": (["gather", "reduce"], "settings; the step's lambda", DISTRIBUTED),
    "trainer/grading.py:Grader.groups": (["gather_object"], "settings; the step's lambda", DISTRIBUTED),
    "trainer/trainer.py:CEPOTrainer._score": (["gather_object"] * 2, "the step: null_control_every", UNLIKE),
    "trainer/trainer.py:CEPOTrainer._total": (["reduce"], "every generated batch", DISTRIBUTED),
    "trainer/scorer.py:Scorer._forwards": (["gather"], "sharded weights: as many forwards as anybody needs", SHARDED),
    "trainer/micro_batch.py:without_dead_rows": (["gather"], "a setting: as many rows as anybody has live", UNLIKE),
    "trainer/balance/batches.py:Balancer._dealt": (["gather_object"], "a setting: every generated batch", SHARED),
    "trainer/balance/scoring.py:score_shared": (["gather_object"], "a setting; whenever anybody scores", SHARED),
    "trainer/balance/exchange.py:exchange": (
        ["gather", "all_to_all_single"],
        "what all have gathered says that something moves",
        SHARED,
    ),
    "trainer/resample.py:Resampler._gathered": (["gather"], "settings; every try, and after the last", UNLIKE),
    "trainer/resample.py:Resampler._once": (["gather"], "all end once no group is dead anywhere", UNLIKE),
    "trainer/sampling.py:Sampling._everywhere": (["gather_object"], "a setting: curriculum_rest; each batch", REST),
    "trainer/distillation.py:DistillationLoss.with_teachers": (["gather"], "a setting: opsd, sdpo", DISTIL),
    "runs/evaluation.py:_generate": (["gather_object"], "several processes; each has all batches", EVALUATE),
    "runs/evaluation.py:_of_main": (["gather_object"], "several processes, before and after an evaluation", EVALUATE),
    "runs/run.py:_Work._prepare": (["wait_for_everyone"], "every run's start", EVALUATE),
    "runs/run.py:_Work._save_model": (["wait_for_everyone"], "the training's end", EVALUATE),
}  # fmt: skip
"""Where -> its collective calls, what brings every process there, and the test that has two of them there."""


def test_a_table_has_the_rows_of_all_processes(tmp_path: Path) -> None:
    def work(rank: int, folder: Path) -> list[object]:
        Accelerator(cpu=True)
        trainer = cast(Any, HostTrainer.__new__(HostTrainer))
        trainer._logs = {"extra": defaultdict(list)}
        trainer.log_table("answer", [f"{rank}/{row}" for row in range(rank)])  # one of them has none
        return trainer._logs["extra"]["answer"]

    assert [one.value for one in on_two(work, tmp_path, seconds=60)] == [["1/0"], ["1/0"]]


def collectives(tree: ast.AST, where: str = "") -> Iterator[tuple[str, str]]:
    """(function, name) of each collective: what is called on an accelerator, and known names that are read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        inner = where
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = f"{where}.{node.name}" if where else node.name
        if isinstance(node, ast.Name) and node.id in ANYWHERE:
            yield where, node.id
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if node.attr in ANYWHERE or (node.attr in OF_ACCELERATOR and owner.lower().endswith("accelerator")):
                yield where, node.attr
        yield from collectives(node, inner)


def found() -> dict[str, list[str]]:
    """Where -> its collective calls, sorted."""
    calls: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for where, name in collectives(ast.parse(path.read_text())):
            calls.setdefault(f"{path.relative_to(SOURCE)}:{where}", []).append(name)
    return {where: sorted(names) for where, names in calls.items()}


def test_every_collective_call_is_listed() -> None:
    assert found() == {where: sorted(names) for where, (names, _, _) in LISTED.items()}


@pytest.mark.parametrize("test", sorted({test for _, _, test in LISTED.values()}))
def test_the_tests_on_two_processes_are_there(test: str) -> None:
    file, name = test.split("::")
    functions = [node for node in ast.walk(ast.parse((TESTS / file).read_text())) if isinstance(node, ast.FunctionDef)]
    assert name in Counter(node.name for node in functions)


@pytest.mark.parametrize(
    "line",
    ["self.accelerator.gather(x)", "if a:\n  gather_object([1])", "f(gather_object)", "torch.distributed.barrier()",
     "with accelerator.main_process_first(): pass", "dist.all_reduce(x)"],
)  # fmt: skip
def test_a_new_one_is_seen(line: str) -> None:
    assert list(collectives(ast.parse(line)))
    assert not list(
        collectives(ast.parse("logits.gather(1, place)\nfrom accelerate.utils import gather_object\nreduce(f, x)"))
    )
