"""Oracle rewards: accuracy's totals, and one score for each token through the solver's labels."""

from __future__ import annotations

import pytest

from cepo.answers import Grading
from cepo.chain.wording import words
from cepo.data.oracles import chain_oracle, chain_values
from cepo.data.rewards import RewardError, accuracy_reward, bind_reward, get_reward, preflight_rewards
from cepo.data.scores import scores_of
from cepo.lab.noisy import vocabulary
from cepo.models.embedded_text import build_text_tokenizer

TOKENIZER = build_text_tokenizer(vocabulary(words()))
KEY = "7+3-5"  # 0, 5
RIGHT = "now gives 0, so makes 5. \\boxed{5}"
WRONG = "now gives 1, so makes 6. \\boxed{6}"
LATE = "now gives 0, so makes 6. \\boxed{6}"
NO_BOX = "now gives 0, so makes"


def by_token(rewards: list, row: int, text: str) -> dict[str, float]:  # type: ignore[type-arg]
    """Score of each token, by its place and text."""
    ids = TOKENIZER(text + TOKENIZER.eos_token, add_special_tokens=False)["input_ids"]
    scores = scores_of([("r", rewards[row])], ids, TOKENIZER.decode)
    return {
        f"{at}:{TOKENIZER.decode([token])}": score for at, (token, score) in enumerate(zip(ids, scores, strict=True))
    }


@pytest.mark.parametrize("reward", [chain_oracle, chain_values])
def test_totals_are_the_accuracy_rewards(reward) -> None:  # type: ignore[no-untyped-def]
    texts = [RIGHT, WRONG, LATE, NO_BOX, "", [{"role": "assistant", "content": RIGHT}]]
    given = {"prompts": ["p"] * 6, "completions": texts, "answer": ["5"] * 6, "chain": [KEY] * 6}
    assert [float(value) for value in reward(**given)] == accuracy_reward(**given)
    assert get_reward(reward.__name__) is reward


@pytest.mark.parametrize("reward", [chain_oracle, chain_values])
def test_totals_follow_the_run_s_format(reward) -> None:  # type: ignore[no-untyped-def]
    """Under `tags` a box is no answer, for the oracles as for `accuracy_reward`."""
    bound = bind_reward(reward, Grading("tags"))
    given = {"prompts": ["p"] * 2, "answer": ["5"] * 2, "chain": [KEY] * 2}
    rewards = bound(completions=[RIGHT, "now gives 0, so makes <answer>5</answer>"], **given)
    assert [float(value) for value in rewards] == [0.0, 1.0]
    assert bound.__name__ == reward.__name__


def test_the_oracle_scores_what_decided() -> None:
    given = {"prompts": ["p"] * 4, "answer": ["5"] * 4, "chain": [KEY] * 4}
    texts = [RIGHT, WRONG, LATE, NO_BOX]
    rewards = chain_oracle(completions=texts, **given)
    scored = [[name for name, score in by_token(rewards, row, text).items() if score] for row, text in enumerate(texts)]
    assert scored == [["2:0", "6:5"], ["2:1"], ["6:6"], []]
    assert all(score in (0.0, 1.0) for row, text in enumerate(texts) for score in by_token(rewards, row, text).values())


def test_values_rise_with_right_steps_and_fall_to_nothing() -> None:
    texts = [RIGHT, WRONG, LATE, RIGHT]
    rewards = chain_values(["p"] * 4, texts, answer=["5"] * 4, chain=[KEY] * 4)  # p = 1/2
    right = list(by_token(rewards, 0, RIGHT).values())
    assert right == pytest.approx([0.5] * 2 + [0.5**0.5] * 4 + [1.0] * 6)
    assert list(by_token(rewards, 1, WRONG).values()) == pytest.approx([0.5] * 2 + [0.0] * 10)
    assert list(by_token(rewards, 2, LATE).values()) == pytest.approx([0.5] * 2 + [0.5**0.5] * 4 + [0.0] * 6)


def test_the_pass_rate_is_the_chains_own() -> None:
    rewards = chain_values(["p"] * 3, [RIGHT, WRONG, WRONG], answer=["5"] * 3, chain=[KEY, KEY, "7+4-6"])
    assert next(iter(by_token(rewards, 0, RIGHT).values())) == pytest.approx(0.5)
    assert next(iter(by_token(rewards, 2, WRONG).values())) == pytest.approx(0.5)  # none right: half of one's share


def test_other_data_is_refused_in_words() -> None:
    rows = [{"prompt": "2 + 3?", "answer": "5"}]
    for reward in (chain_oracle, chain_values):
        with pytest.raises(RewardError, match=r"no column `chain`.*use `data: chain` or `data: figures`"):
            preflight_rewards([reward], rows, 5.0)
