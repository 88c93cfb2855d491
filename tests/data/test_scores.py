"""Scores of single tokens: given by token or by character, added over functions, and never of another length."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.data.guards import guard_reward
from cepo.data.scores import TokenReward, TokenScores, scores_of
from cepo.errors import RewardError


def decode(ids: list[int]) -> str:
    """Each id is its character; 200 + n: UTF-8 bytes of which several make one."""
    return bytes(ids).decode(errors="replace")


def ids_of(text: str) -> list[int]:
    return list(text.encode())


def scored(*rewards: TokenReward, text: str = "so 7 cm") -> list[float]:
    return scores_of([(f"f{index}", reward) for index, reward in enumerate(rewards)], ids_of(text), decode)


def test_it_is_a_number_to_everything_that_wants_one() -> None:
    reward = TokenReward(0.5, tokens=[1, 2])
    assert reward == 0.5
    assert reward + 1 == 1.5
    assert sum([reward, reward]) == 1.0
    assert (reward.tokens, reward.spans) == ((1.0, 2.0), None)
    assert all(isinstance(score, float) for score in reward.tokens or ())


@pytest.mark.parametrize("given", [{}, {"tokens": [1.0], "spans": [(0, 1, 1.0)]}], ids=["neither", "both"])
def test_either_tokens_or_spans(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either `tokens` or `spans`"):
        TokenReward(1.0, **given)


def test_one_score_for_each_token() -> None:
    assert scored(TokenReward(1.0, tokens=[1, 2, 3]), text="abc") == [1.0, 2.0, 3.0]
    assert scored(TokenReward(1.0, tokens=[]), text="") == []


def test_a_span_scores_the_tokens_that_it_overlaps() -> None:
    assert scored(TokenReward(1.0, spans=[(3, 4, 0.5)])) == [0, 0, 0, 0.5, 0, 0, 0]
    assert scored(TokenReward(1.0, spans=[(0, 2, 1.0), (3, 4, -0.5)])) == [1, 1, 0, -0.5, 0, 0, 0]
    assert scored(TokenReward(1.0, spans=[])) == [0] * 7


def test_the_last_of_overlapping_spans_counts() -> None:
    assert scored(TokenReward(1.0, spans=[(0, 7, 1.0), (3, 4, 2.0)])) == [1, 1, 1, 2, 1, 1, 1]
    assert scored(TokenReward(1.0, spans=[(3, 4, 2.0), (0, 7, 1.0)])) == [1] * 7


def test_a_token_of_several_characters_is_scored_if_the_span_reaches_into_it() -> None:
    words = {1: "so", 2: " seven", 3: ".", 4: ""}
    decoded = lambda ids: "".join(words[token] for token in ids)
    reward = TokenReward(1.0, spans=[(4, 5, 1.0)])  # the "e" of "seven"
    assert scores_of([("f", reward)], [1, 2, 3], decoded) == [0.0, 1.0, 0.0]
    reward = TokenReward(1.0, spans=[(2, 8, 1.0)])
    assert scores_of([("f", reward)], [1, 2, 3], decoded) == [0.0, 1.0, 0.0]
    reward = TokenReward(1.0, spans=[(8, 9, 1.0)])
    assert scores_of([("f", reward)], [1, 2, 4, 3], decoded) == [0.0, 0.0, 1.0, 1.0], (
        "an empty token stands where the next does"
    )


def test_halves_of_a_character_stand_where_it_does() -> None:
    """Tokens of bytes: ° and the Chinese character are made of two and of three, whose texts alone are no text."""
    text = "7° 角 x"
    where = {"7": [0], "°": [1, 2], "角": [4, 5, 6], "x": [8]}
    for character, tokens in where.items():
        at = text.index(character)
        found = scored(TokenReward(1.0, spans=[(at, at + 1, 1.0)]), text=text)
        assert [index for index, score in enumerate(found) if score] == tokens, character


@given(st.text(alphabet="a7° 角", max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_a_span_of_any_characters_scores_their_bytes(text: str, first: int, last: int) -> None:
    """Each byte of a character within [first, last) and no other; characters are whole in these spans."""
    first, last = sorted((min(first, len(text)), min(last, len(text))))
    found = scored(TokenReward(1.0, spans=[(first, last, 1.0)]), text=text)
    expected = [float(first <= at < last) for at, character in enumerate(text) for _ in character.encode()]
    assert found == expected


def test_functions_add() -> None:
    assert scored(TokenReward(1.0, tokens=[1, 2, 3]), TokenReward(0.0, spans=[(1, 3, 0.5)]), text="abc") == [
        1,
        2.5,
        3.5,
    ]
    assert scored(text="abc") == [0.0, 0.0, 0.0]


def test_a_wrong_length_is_named_with_its_function() -> None:
    with pytest.raises(RewardError, match="reward 'f1' scored 2 tokens of a completion that has 3"):
        scored(TokenReward(1.0, tokens=[1, 2, 3]), TokenReward(1.0, tokens=[1, 2]), text="abc")


def test_they_are_collected_between_two_calls() -> None:
    collected = TokenScores()
    one, two = TokenReward(1.0, tokens=[1]), TokenReward(0.0, tokens=[2])
    collected.add("f", [one, 0.5, None])
    collected.add("g", [two, two, 1])
    assert collected.take() == {0: [("f", one), ("g", two)], 1: [("g", two)]}
    assert collected.take() == {}


def test_a_guarded_function_keeps_them() -> None:
    """The guard hands the trainer what the function returned, also from the thread of a timeout."""
    for timeout in (None, 5.0):
        collected = TokenScores()

        def mine(completions: Any, **_: Any) -> list[float]:
            return [TokenReward(1.0, tokens=[1, 2]), 0.0]

        returned = guard_reward(mine, timeout, seen=collected.add)(completions=["a", "b"], prompts=["p", "q"])
        assert list(returned) == [1.0, 0.0]
        ((row, ((name, reward),)),) = collected.take().items()
        assert (row, name, reward.tokens) == (0, "mine", (1.0, 2.0))


def test_it_survives_a_process() -> None:
    reward = pickle.loads(pickle.dumps(TokenReward(0.5, spans=[(0, 1, 2.0)])))
    assert (reward, reward.tokens, reward.spans) == (0.5, None, ((0, 1, 2.0),))
