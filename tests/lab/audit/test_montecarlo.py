"""Steps and their value changes: boundaries, sampling error, and a toy whose values are known."""

from dataclasses import dataclass
from random import Random

import numpy as np
import pytest

from cepo.lab.audit.collect import Bench, chosen_for_steps
from cepo.lab.audit.metrics import resamples
from cepo.lab.audit.montecarlo import Steps, Value, measure_steps, reliability, steps_of, value_changes
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.sampling import Prompt
from cepo.lab.audit.targets import sampled_target

END = ord("$")
ONE = np.ones((1, 1))


class Letters:
    """A tokenizer of one token per character; `$` is the end token."""

    def decode(self, ids, *, skip_special_tokens=False):
        return "".join(chr(index) for index in ids if index != END)


def ids(text):
    return [ord(character) for character in text]


PROBLEM = AuditProblem({"id": "toy", "prompt": [], "answer": "1"})


def rollout(text, problem=0):
    return sampled_target(problem, PROBLEM, Letters(), ids(text), [END])


def pieces(text, longest=100):
    return [text[first:last] for first, last in steps_of(rollout(text), longest)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("One. Two. Three$", ["One.", " Two.", " Three$"]),
        ("One. Two.$", ["One.", " Two.$"]),
        ("3.5 is one! Two?\nThree$", ["3.5 is one!", " Two?", "\n", "Three$"]),
        ("no end", ["no end"]),
        ("$", ["$"]),
    ],
)
def test_steps_are_sentences_and_lines(text, steps):
    assert pieces(text) == steps


def test_a_long_sentence_is_cut():
    assert pieces("abcdefg. hi$", longest=3) == ["abc", "def", "g.", " hi$"]  # the end token joins the last step


def test_values():
    value = Value((True, True, False, True))
    assert value.mean == 0.75
    assert (value.half(0), value.half(1)) == (0.5, 1.0)
    assert value.variance == pytest.approx((4 / 6) * (2 / 6) / 4)
    assert Value((True,) * 4).variance > 0
    assert Value((True,), exact=True).variance == 0
    assert Value((False,), exact=True).half(1) == 0


@dataclass
class ToySampler:
    """Continues `` with a letter, `a. ` or `b. `, and then an answer that is right with a chance by letter."""

    chance: dict[str, float]
    ends: tuple[int, ...] = (END,)

    def complete(self, starts, samples, seed, advance=lambda _: None):
        rng = Random(seed)
        advance(len(starts))
        return [[self.one(start.prefix, rng) for _ in range(samples)] for start in starts]

    def one(self, prefix, rng):
        text = Letters().decode(prefix)
        added = "" if text else rng.choice("ab") + "."
        letter = (text + added)[0]
        if "{" not in text:
            added += " \\boxed{" + ("1" if rng.random() < self.chance[letter] else "0") + "}"
        return [*ids(added), END]


CHANCE = {"a": 0.9, "b": 0.2}
START = 0.55


def bench(sampler, problems=1):
    prompt = Prompt([], [0], None)
    return Bench([PROBLEM] * problems, [prompt] * problems, Letters(), sampler)


def test_values_of_a_toy_are_its_chances():
    good = rollout("a. \\boxed{1}$")
    poor = rollout("b. \\boxed{0}$")
    draws = 4000
    values = bench(ToySampler(CHANCE)).values([good, poor], draws, 100, seed=0)
    assert [len(own) for own in values] == [3, 3]
    for found, truth in zip(values, ([START, 0.9, 1.0], [START, 0.2, 0.0]), strict=True):
        for value, chance in zip(found, truth, strict=True):
            assert value.mean == pytest.approx(chance, abs=4 * (0.25 / draws) ** 0.5)
    assert values[0][0] is values[1][0]  # the same prefix, sampled once
    assert values[0][2].exact


def test_the_end_of_a_truncated_rollout_is_sampled():
    cut = rollout("a.")
    assert cut.truncated
    values = bench(ToySampler(CHANCE)).values([cut], 2000, 100, seed=0)[0]
    assert not values[-1].exact
    assert values[-1].mean == pytest.approx(0.9, abs=0.05)


def toy_steps(samples, problems=40):
    """Rollouts of problems whose first letter matters as in CHANCE; and the exact value change of each step."""
    rng = Random(1)
    targets, evidence = [], []
    for problem in range(problems):
        letter = rng.choice("ab")
        right = rng.random() < CHANCE[letter]
        targets.append(rollout(f"{letter}. \\boxed{{{int(right)}}}$", problem))
        evidence += [CHANCE[letter] - START, right - CHANCE[letter]]
    values = bench(ToySampler(CHANCE), problems).values(targets, samples, 100, seed=2)
    return value_changes(targets, values), np.array(evidence)


def test_evidence_that_is_right_agrees_and_shuffled_evidence_does_not():
    steps, evidence = toy_steps(samples=400)
    weight_RP = resamples(40, 100, seed=0)
    good = measure_steps(evidence, steps, weight_RP, reliability(steps, weight_RP))
    assert good["spearman"][0] > 0.9
    assert good["spearman_within"][0] > 0.9
    assert good["sign_agreement"][0] == 1.0
    assert good["spearman_corrected"][0] >= good["spearman"][0]
    shuffled = np.random.default_rng(0).permutation(evidence)
    poor = measure_steps(shuffled, steps, weight_RP, reliability(steps, weight_RP))
    assert abs(poor["spearman"][0]) < 0.25
    assert poor["sign_agreement"][0] < 0.75
    turned = measure_steps(-evidence, steps, weight_RP, reliability(steps, weight_RP))
    assert turned["spearman"][0] == pytest.approx(-good["spearman"][0])
    assert turned["sign_agreement"][0] == 0.0


def test_more_continuations_are_more_reliable():
    weight_RP = resamples(40, 10, seed=0)
    few, many = (reliability(toy_steps(samples)[0], weight_RP)[0] for samples in (2, 400))
    assert few < many
    assert many > 0.9


def test_halves_that_disagree_have_no_reliability():
    numbers = np.array([0.0, 1.0, 2.0])
    zeros = np.zeros(3, dtype=np.int64)
    steps = Steps(zeros, zeros, numbers, numbers, -numbers, np.zeros(3))
    assert np.isnan(reliability(steps, ONE)[0])


def test_steps_of_some_rollouts():
    steps, _ = toy_steps(samples=2)
    some = steps.only([0, 3])
    assert set(some.rollout_N) == {0, 3}
    assert len(some.change_N) == 4


def test_right_and_wrong_rollouts_are_taken():
    right, wrong = "a. \\boxed{1}$", "b. \\boxed{0}$"
    groups = {
        0: [rollout(right), rollout(right), rollout(right), rollout(wrong)],
        1: [rollout(right), rollout(right)],
        2: [rollout(wrong), rollout(wrong), rollout(wrong), rollout(right)],
        3: [rollout(wrong), rollout(right)],
    }
    chosen = chosen_for_steps(groups, lambda _: True, problems=2, rollouts=4)
    assert len(chosen) == 8  # of problems 0 and 2: problem 1 is all right, and two are enough
    assert sum(one.right for one in chosen) == 4
    assert chosen_for_steps(groups, lambda one: one.right, problems=9, rollouts=4) == []
