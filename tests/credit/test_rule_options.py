"""A rule's own settings: from a recipe's mapping to the record that the rule declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from cepo.credit.rules import METHODS, Credit, Inputs, Knobs, Rule, get_method, read_options, register, weighed
from cepo.credit.rules.cpo import CPOOptions
from cepo.credit.rules.distilled_rl import DistilledRLOptions
from cepo.credit.rules.focused import FocusedOptions
from cepo.credit.rules.prob_mask import ProbMaskOptions
from cepo.credit.rules.rlcsd import RLCSDOptions
from cepo.credit.rules.scaled import SCALED, ScaledOptions
from cepo.credit.rules.scores import ScoresOptions
from cepo.credit.rules.values import ValuesOptions
from cepo.credit.settings import CreditSettings
from cepo.errors import RuleError, SettingError
from cepo.trainer.config import CEPOConfig

pytestmark = pytest.mark.usefixtures("own_registrations")


@dataclass(frozen=True)
class BentOptions:
    tau: float = 0.5
    rounds: int = 2
    hard: bool = False
    word: str = "soft"

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise SettingError(f"rule_options: tau must be above 0, got {self.tau}")


def assign_bent(inputs: Inputs) -> Credit:
    options = inputs.options(BentOptions)
    weight_BT = torch.full_like(inputs.mask_BT, options.tau * options.rounds, dtype=torch.float32)
    return weighed(inputs, torch.zeros_like(weight_BT), weight_BT)


BENT = Rule("bent", "a test", assign=assign_bent, options=BentOptions, defaults={"credit_strength": 1.0})


def one_row(options: object | None = None) -> Inputs:
    return Inputs("bent", torch.tensor([2.0]), torch.ones(1, 2), Knobs(1.0, 0.5, options=options), {})


def test_a_rule_of_ones_own_has_options() -> None:
    register(BENT)
    settings = CreditSettings.resolve("default", "bent", {"rule_options": {"tau": 3, "hard": True}})
    assert settings.knobs(1).options == BentOptions(3.0, hard=True)
    assert settings.strength(1) == 1.0
    assert assign_bent(one_row(settings.rule_options)).advantage_BT.tolist() == [[12.0, 12.0]]
    assert assign_bent(one_row()).advantage_BT.tolist() == [[2.0, 2.0]], "its defaults where nothing is given"


@pytest.mark.parametrize("given", [{"tau": "0.25", "rounds": "3"}, '{"tau": 0.25, "rounds": 3}'])
def test_words_of_a_recipe_or_of_the_command_line(given: Any) -> None:
    assert read_options(BENT, given) == BentOptions(0.25, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tua": 1.0}, "method 'bent' has no option 'tua' .it has tau, rounds, hard, word.; did you mean 'tau'"),
        ({"tau": "high"}, "tau must be a number, got 'high'"),
        ({"tau": True}, "tau must be a number, got True"),
        ({"rounds": 1.5}, "rounds must be a whole number, got 1.5"),
        ({"hard": 1}, "hard must be true or false, got 1"),
        ({"word": 3}, "word must be a word, got 3"),
        ({"tau": -1.0}, "tau must be above 0, got -1.0"),
        ("tau=3", "is no mapping"),
        ("[1]", "is no mapping"),
        (3, "is no mapping"),
    ],
)
def test_what_cannot_be_set_is_named(given: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_options(BENT, given)


@pytest.mark.parametrize("method", ["cepo", "grpo", "sdpo"])
def test_a_method_without_options_takes_none(method: str) -> None:
    assert read_options(get_method(method), None) is None
    assert read_options(get_method(method), {}) is None
    with pytest.raises(SettingError, match=f"method '{method}' has no options"):
        read_options(get_method(method), {"beta": 1.0})


def test_another_rules_options_are_refused() -> None:
    with pytest.raises(RuleError, match="reads BentOptions, but was given ScaledOptions"):
        assign_bent(one_row(ScaledOptions()))


@dataclass
class Thawed:
    tau: float = 0.5


@dataclass(frozen=True)
class Bare:
    tau: float


@dataclass(frozen=True)
class Nested:
    taus: tuple[float, ...] = ()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Thawed, "must be a frozen dataclass"),
        (int, "must be a frozen dataclass"),
        (Bare, "need a default each"),
        (Nested, "option 'taus' must be a float, int, bool or str"),
    ],
)
def test_a_declaration_that_no_recipe_could_set_is_refused(kind: type, said: str) -> None:
    with pytest.raises(RuleError, match=said):
        register(Rule("bent", "a test", assign=assign_bent, options=kind))


def test_references_that_depend_on_the_row_are_refused_where_the_rule_says_so() -> None:
    with pytest.raises(RuleError, match="what 'minus' tells may; 'rival'"):
        register(Rule("bent", "", ("plus", "minus"), assign_bent, options=BentOptions, row_free_references=True))
    register(Rule("bent", "", ("plus", "rival"), assign_bent, options=BentOptions, row_free_references=True))


def test_the_config_takes_them(tmp_path: Path) -> None:
    def config(**given: Any) -> CEPOConfig:
        return CEPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **given)

    assert config(method="scaled", rule_options={"blame": 0.3}).credit.rule_options == ScaledOptions(blame=0.3)
    assert config(method="scaled").credit.rule_options == ScaledOptions()
    with pytest.raises(SettingError, match="blame must be 0 or more"):
        config(method="scaled", rule_options={"blame": -0.3})
    with pytest.raises(SettingError, match=r"posterior.* divides by the deviation"):
        config(method="posterior", scale_rewards="batch")


def test_a_rules_defaults_stand_below_the_preset_and_what_is_given() -> None:
    assert CreditSettings.resolve("default", "scaled", {}).strength(100) == 1.0
    assert CreditSettings.resolve("paper", "scaled", {"credit_strength": 0.5}).strength(100) == 0.5
    assert CreditSettings.resolve("default", "cepo", {}).strength(100) == 0.0


INFINITE = float("inf")
BAD = [
    (CPOOptions, {"bound": 0.0}), (CPOOptions, {"bound": INFINITE}),
    (DistilledRLOptions, {"ratio": 0.9}), (DistilledRLOptions, {"ratio": INFINITE}),
    (FocusedOptions, {"cap": 0.9}), (FocusedOptions, {"cap": INFINITE}),
    (FocusedOptions, {"least": 0.0}), (FocusedOptions, {"least": INFINITE}),
    (ProbMaskOptions, {"sure": 0.0}), (ProbMaskOptions, {"sure": 1.1}),
    (RLCSDOptions, {"tau": 0.0}), (RLCSDOptions, {"tau": INFINITE}),
    (RLCSDOptions, {"beta": -0.1}), (RLCSDOptions, {"delta": -0.1}), (RLCSDOptions, {"eta": -0.1}),
    (ScaledOptions, {"praise": -0.1}), (ScaledOptions, {"blame": INFINITE}),
    (ScoresOptions, {"scale": -0.1}), (ScoresOptions, {"scale": INFINITE}), (ScoresOptions, {"form": "share"}),
    (ValuesOptions, {"form": "sum"}),
]  # fmt: skip
GOOD = [
    (CPOOptions, {"bound": 0.1}), (DistilledRLOptions, {"ratio": 1.0}), (FocusedOptions, {"cap": 1.0, "least": 0.1}),
    (ProbMaskOptions, {"sure": 1.0}), (ProbMaskOptions, {"sure": 0.1}), (RLCSDOptions, {"tau": 0.01}),
    (RLCSDOptions, {"beta": 0.0, "delta": 0.0, "eta": 0.0}), (ScaledOptions, {"praise": 0.0, "blame": 0.0}),
    (ScoresOptions, {"scale": 0.0}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given"), BAD)
def test_a_rules_option_beyond_its_range_is_named(kind: type, given: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="|".join(map(str, given))):
        kind(**given)


@pytest.mark.parametrize(("kind", "given"), GOOD)
def test_the_ends_of_an_options_range(kind: type, given: dict[str, Any]) -> None:
    kind(**given)


def test_every_default_is_one_of_the_settings() -> None:
    for name in METHODS:
        CreditSettings.resolve("default", name, {})
    assert SCALED.defaults


@pytest.mark.parametrize("given", ["", "  ", "{}", None])
def test_options_given_as_an_empty_text_are_the_rules_own(given: str | None) -> None:
    assert CreditSettings.resolve("default", "scaled", {"rule_options": given}).rule_options == ScaledOptions()
