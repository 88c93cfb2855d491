"""Evaluation: generation on a random tiny model, reports against numbers worked by hand."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from cepo.answers import BOXED, Grading, pool, same_answer, verdict
from cepo.cli import main
from cepo.data.rows import problem_row
from cepo.evaluate import (
    Generation,
    Score,
    format_families,
    format_report,
    generate_answers,
    load_generations,
    own_randomness,
    regrade,
    report,
    save_generations,
)
from cepo.geometry import generate
from cepo.models.embedded import build_model, build_processor
from cepo.runs.folder import run_grading
from cepo.stats import mean_interval, paired_difference

PROBLEMS = generate("validation", 6, seed=3)


@pytest.fixture(scope="module")
def processor():
    return build_processor([*(p.question for p in PROBLEMS), *(p.solution for p in PROBLEMS)] * 20)


@pytest.fixture(scope="module")
def model(processor):
    return build_model(processor)


@pytest.fixture(scope="module")
def dataset():
    return Dataset.from_list([problem_row(problem) for problem in PROBLEMS])


def answers(model, processor, dataset, **changes):
    settings = {"max_new_tokens": 6, "batch_size": 4, "progress": False, "autocast_bf16": False}
    return generate_answers(model, processor, dataset, **(settings | changes))


def test_seed_decides_the_completions(model, processor, dataset):
    first = answers(model, processor, dataset, samples=2, seed=1)
    assert first == answers(model, processor, dataset, samples=2, seed=1)
    assert first != answers(model, processor, dataset, samples=2, seed=2)
    assert first[0].text != first[1].text


def test_the_caller_finds_everything_as_it_was(model, processor, dataset):
    model.train()
    model.lm_head.eval()
    config, state = model.generation_config, torch.get_rng_state()
    answers(model, processor, dataset)
    assert model.training
    assert not model.lm_head.training
    assert model.generation_config is config
    assert torch.equal(state, torch.get_rng_state())
    model.eval()


def test_results_stand_in_the_order_of_the_data(model, processor, dataset):
    found = answers(model, processor, dataset, samples=2, batch_size=5)
    assert [g.id for g in found] == [p.id for p in PROBLEMS for _ in range(2)]
    assert [g.answer for g in found[::2]] == [p.answer for p in PROBLEMS]
    assert [g.family for g in found[::2]] == [p.family for p in PROBLEMS]


def test_greedy_does_not_depend_on_batches_or_seed(model, processor, dataset):
    one = answers(model, processor, dataset, temperature=0, batch_size=1, seed=1)
    assert one == answers(model, processor, dataset, temperature=0, batch_size=6, seed=2)


def test_nothing_but_the_end_token_stops_or_bends_sampling(model, processor, dataset, monkeypatch):
    free = answers(model, processor, dataset)
    assert all(g.truncated for g in free)
    monkeypatch.setattr(model.generation_config, "suppress_tokens", list(range(10, 500)))
    monkeypatch.setattr(model.generation_config, "top_k", 1)
    assert answers(model, processor, dataset) == free
    monkeypatch.setattr(model.generation_config, "eos_token_id", list(range(processor.tokenizer.vocab_size)))
    assert all(g.text == "" and not g.truncated for g in answers(model, processor, dataset))


def test_bfloat16_autocast_runs(model, processor, dataset):
    assert len(answers(model, processor, dataset.select([0]), autocast_bf16=True)) == 1


def test_text_rows_with_a_tokenizer_and_with_a_processor(model, processor, dataset):
    text = dataset.remove_columns(["images", "family"])
    with_tokenizer = answers(model, processor.tokenizer, text, temperature=0)
    assert [g.id for g in with_tokenizer] == text["id"][:]
    assert with_tokenizer[0].family is None
    assert with_tokenizer == answers(model, processor, text, temperature=0)


def test_rows_with_and_without_images_in_one_dataset(model, processor, dataset):
    rows = [dict(row) for row in dataset]
    rows[1]["images"] = rows[4]["images"] = []
    mixed = answers(model, processor, Dataset.from_list(rows), temperature=0)
    whole = answers(model, processor, dataset, temperature=0)
    bare = answers(model, processor, dataset.remove_columns("images"), temperature=0)
    assert mixed == [bare[i] if i in (1, 4) else whole[i] for i in range(6)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"temperature": -0.5}, "temperature .* got -0.5"),
        ({"temperature": float("nan")}, "temperature .* got nan"),
        ({"temperature": 0, "samples": 2}, "greedy, 2 samples"),
        ({"max_new_tokens": 0}, "max_new_tokens .* got 0"),
        ({"batch_size": 0}, "batch_size .* got 0"),
    ],
)
def test_settings_out_of_range_are_refused(model, processor, dataset, changes, message):
    with pytest.raises(ValueError, match=message):
        answers(model, processor, dataset, **changes)


def test_unusable_data_are_refused(model, processor, dataset, monkeypatch):
    with pytest.raises(ValueError, match="dataset is empty"):
        answers(model, processor, dataset.select([]))
    with pytest.raises(ValueError, match="stands twice"):
        answers(model, processor, dataset.select([0, 0]))
    with pytest.raises(ValueError, match="lacks answer, id"):
        answers(model, processor, dataset.remove_columns(["id", "answer"]))
    with pytest.raises(ValueError, match="reads text only"):
        answers(model, processor.tokenizer, dataset)
    monkeypatch.setattr(model.generation_config, "eos_token_id", None)
    with pytest.raises(ValueError, match="no end token"):
        answers(model, processor, dataset)


def graded(problem: str, family: str, gold: str, *boxed: str | None) -> list[Generation]:
    return [
        Generation(problem, family, gold, "so" if b is None else rf"\boxed{{{b}}}", b, same_answer(b, gold), b is None)
        for b in boxed
    ]


GENERATIONS = [
    *graded("p", "f", "5", "5", "4", "5", None),  # 2 of 4, the vote is right
    *graded("q", "f", "1/2", "3", "0.5", "1/2", "3.0"),  # 2 of 4, a tie that goes to the first: wrong
    *graded("r", "g", "7", "7", "7", "7", "7"),  # 4 of 4
]


def test_report_by_hand():
    found = report(GENERATIONS, 4)
    assert (found.problems, found.samples) == (3, 4)
    assert found.per_problem == {"p": 0.5, "q": 0.5, "r": 1.0}
    low, high = mean_interval([0.5, 0.5, 1.0]).bounds
    assert low < 0 < 1 < high, "and no rate lies there"
    assert found.overall == Score(3, pytest.approx(2 / 3), 0.0, 1.0)
    # Two of four right: both of a pair wrong with probability 1/6.
    assert found.pass_at == {1: pytest.approx(2 / 3), 2: pytest.approx((5 / 6 + 5 / 6 + 1) / 3), 4: 1.0}
    assert found.majority == pytest.approx(2 / 3)
    assert found.families == {"f": Score(2, 0.5, 0.5, 0.5), "g": Score(1, 1.0, None, None)}
    assert found.truncated == found.no_answer == pytest.approx(1 / 12)
    assert json.loads(json.dumps(found.to_dict()))["pass_at"]["4"] == 1.0


def test_an_interval_of_a_rate_stays_within_0_and_1():
    """One right of many: the interval of the mean would begin below 0, and one wrong of many would end above 1."""
    many = [record for index in range(40) for record in graded(f"p{index}", "f", "5", "4" if index else "5")]
    few, most = report(many, 1).overall, report([replace(g, correct=not g.correct) for g in many], 1).overall
    assert few == Score(40, 0.025, 0.0, pytest.approx(1 - most.low))
    assert most.high == 1.0


def test_two_reports_compare_by_problem():
    a, b = report(GENERATIONS, 4), report([replace(g, correct=False) for g in GENERATIONS], 4)
    difference = paired_difference(a.per_problem.values(), [b.per_problem[i] for i in a.per_problem])
    assert difference.mean == pytest.approx(2 / 3)


def test_one_sample_has_no_vote():
    found = report(GENERATIONS[::4], 1)
    assert found.majority is None
    assert found.pass_at == {1: pytest.approx(2 / 3)}


def test_reports_refuse_what_does_not_add_up():
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        report(GENERATIONS, 0)
    with pytest.raises(ValueError, match="no generations"):
        report([], 1)
    with pytest.raises(ValueError, match="'r' has 3 generations, expected samples=4"):
        report(GENERATIONS[:-1], 4)


def test_the_table_is_aligned():
    lines = format_report(report(GENERATIONS, 4)).splitlines()
    table, facts = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert len({len(line) for line in table}) == 1
    assert len({len(line) for line in facts}) == 1
    assert table[2].split()[:3] == ["all", "3", "66.7%"]
    assert table[4].split() == ["g", "1", "100.0%", "-"]
    assert facts[0].split() == ["pass@2", "88.9%"]


def test_rates_by_family():
    found = report(GENERATIONS, 4)
    assert found.family_rates["f"].pass_at == {1: 0.5, 2: pytest.approx(5 / 6), 4: 1.0}
    assert (found.family_rates["f"].majority, found.family_rates["g"].majority) == (0.5, 1.0)
    assert json.loads(json.dumps(found.to_dict()))["family_rates"]["f"]["pass_at"]["4"] == 1.0
    lines = format_families(found).splitlines()
    assert lines[0].split() == ["family", "pass@2", "pass@4", "majority", "of", "4"]
    assert lines[2].split() == ["f", "83.3%", "100.0%", "50.0%"]
    assert format_families(report(GENERATIONS[::4], 1)) is None


def test_the_command_grades_saved_texts_again(tmp_path, capsys):
    path, out = tmp_path / "g.jsonl", tmp_path / "again.jsonl"
    save_generations([replace(g, correct=False, extracted=None) for g in GENERATIONS], path)
    assert main(["eval", "--regrade", str(path), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{format_report(report(GENERATIONS, 4))}\n\n{format_families(report(GENERATIONS, 4))}\n"
    assert "8 of 12 verdicts changed" in shown.err
    assert load_generations(out) == GENERATIONS
    save_generations(GENERATIONS[1:], path)
    for arguments, words in (
        ([], "give one MODEL, for example: cepo eval tiny-text"),
        (["a", "b"], "give one MODEL, got 2"),
        (["tiny", "--regrade", str(out)], "--regrade needs no model, got 'tiny'"),
        (["--regrade", str(tmp_path / "no")], "there is no file"),
        (["--regrade", str(path)], "'p' has 3 generations, expected samples=4"),
        (["--regrade", str(out), "--suite", "paper"], "--regrade is for local benchmarks"),
    ):
        assert main(["eval", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_no_family_is_no_line():
    without = [replace(generation, family=None) for generation in GENERATIONS]
    assert "(none)" not in format_report(report(without, 4))


def test_generations_survive_a_file_and_are_graded_again(tmp_path):
    path = tmp_path / "generations.jsonl"
    odd = replace(GENERATIONS[0], text="Δ\u2028\n\\boxed{5}", family=None)
    save_generations([*GENERATIONS, odd], path)
    assert load_generations(path) == [*GENERATIONS, odd]
    stale = [replace(g, extracted="?", correct=not g.correct) for g in [*GENERATIONS, odd]]
    assert regrade(stale) == [*GENERATIONS, odd]


def test_generations_are_regraded_as_they_were_or_as_asked(tmp_path, capsys):
    """A file that a run wrote under `tags` is not silently graded by boxes."""
    tags = Grading("tags")
    one = Generation("p", "f", "7", "<answer>7</answer>", None, False, False, grading=tags)
    other = replace(one, id="q", text=r"\boxed{7}")
    path = tmp_path / "g.jsonl"
    save_generations([one, other], path)
    assert load_generations(path) == [one, other]
    assert [(g.correct, g.extracted, g.grading) for g in regrade([one, other])] == [
        (True, "7", tags),
        (False, None, tags),
    ]
    assert [g.correct for g in regrade([one, other], BOXED)] == [False, True]
    for words, shares in (
        ([], "50.0%"),
        (["--answer-format", "auto"], "100.0%"),
        (["--answer-format", "phrase"], "0.0%"),
    ):
        assert main(["eval", "--regrade", str(path), *words]) == 0
        assert shares in capsys.readouterr().out.splitlines()[2]
    assert main(["eval", "--regrade", str(path), "--answer-format", "box"]) == 2
    assert "unknown answer_format 'box'" in capsys.readouterr().err
    assert main(["eval", "tiny", "--suite", "geometry", "--grader", "cepo"]) == 2
    assert "are for local benchmarks" in capsys.readouterr().err


def test_records_from_before_there_was_a_choice_are_boxes(tmp_path):
    path = tmp_path / "g.jsonl"
    old = {name: value for name, value in asdict(GENERATIONS[0]).items() if name not in ("late", "grading")}
    path.write_text(json.dumps(old) + "\n")
    assert load_generations(path) == GENERATIONS[:1]
    path.write_text(json.dumps(old | {"grading": {"answer_format": "box"}, "late": False}) + "\n")
    with pytest.raises(ValueError, match="line 1: unknown answer_format 'box'"):
        load_generations(path)


def test_what_the_grader_did_not_reach_is_said(monkeypatch):
    def starved(worker, question, timeout_s):
        raise pool.Late

    monkeypatch.setattr(pool.Worker, "ask", starved)
    verdict._remembered.clear()
    hard = replace(GENERATIONS[0], answer=r"\sum_{k=1}^{10} k^2", text=r"\boxed{\sum_{k=1}^{10} k\cdot k}")
    late, right = regrade([replace(hard, id="a"), replace(hard, id="b", text=r"\boxed{\sum_{k=1}^{10} k^2}")])
    assert (late.correct, late.late, right.correct, right.late) == (False, True, True, False)
    assert "not graded in time (wrong)" in format_report(report([late, right], 1))
    monkeypatch.undo()
    assert regrade([late])[0].correct
    assert "not graded in time" not in format_report(report(regrade([late, right]), 1))


def test_a_run_s_grading_is_found_from_its_model(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("answer_format: tags\nthinking_counts: true\nmodel: tiny\n")
    tags = Grading("tags", thinking_counts=True)
    assert run_grading(tmp_path / "run") == run_grading(tmp_path / "run" / "model") == tags
    assert run_grading(tmp_path) == run_grading(Path("tiny")) == BOXED


def test_a_broken_file_is_named_by_line(tmp_path):
    path = tmp_path / "generations.jsonl"
    save_generations(GENERATIONS[:1], path)
    path.write_text(path.read_text() + '{"id": "p"}\n')
    with pytest.raises(ValueError, match="line 2: a generation has the fields"):
        load_generations(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="line 1: not JSON"):
        load_generations(path)


def test_draws_of_an_evaluation_are_its_own() -> None:
    def seed() -> None:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    seed()
    expected = draws(), draws()
    seed()
    first, within = draws(), []
    for _ in range(2):
        with own_randomness(torch.device("cpu"), 7):
            within.append(draws())
    assert (first, draws()) == expected
    assert within[0] == within[1]
    assert within[0] not in expected
