"""The solver's labels against a naive twin, on solutions right and wrong and on texts of any kind."""

from __future__ import annotations

import re
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.chain.policy import Misconceptions
from cepo.chain.problems import Chain, chains
from cepo.chain.solver import label_text, label_tokens
from cepo.chain.wording import solution

KEY = "7+3-5"  # 0, 5


def labelled(text: str, key: str = KEY) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.label) for span in label_text(Chain.parse(key), text)]


def naive(chain: Chain, values: list[int], text: str) -> list[str]:
    """Labels of characters, of a solution in our own words: digit by digit, left to right."""
    labels, seen, broken = [], 0, False
    for at, character in enumerate(text):
        if not character.isdigit():
            labels.append("filler")
        elif text[:at].endswith("\\boxed{"):
            labels.append("answer" if broken or int(character) == chain.answer else "first_wrong")
        else:
            value = chain.start
            for step in chain.operations[: seen + 1]:
                value = (value + step.operand if step.sign == "+" else value - step.operand) % 10
            assert int(character) == values[seen]
            labels.append("consequence" if broken else "decisive" if values[seen] == value else "first_wrong")
            broken = broken or values[seen] != value
            seen += 1
    return labels


@pytest.mark.parametrize("steps", [1, 4, 12])
def test_labels_of_noisy_solutions_are_the_twins(steps: int) -> None:
    rng, policy = Random(5), Misconceptions(share=0.5)
    kinds = set()
    for chain in islice(chains("train", 0, steps), 60):
        values = policy.work(chain, rng)
        text = solution(values, rng.randint(1, 6), rng)
        found = [label for span in label_text(chain, text) for label in [span.label] * (span.end - span.start)]
        assert found == naive(chain, values, text)
        offsets = [match.span() for match in re.finditer(r"\\boxed\{|[a-z]+ ?|\d|[^\w\s] ?", text)]
        assert label_tokens(chain, text, offsets) == [
            max(found[start:end], key=["filler", "answer", "consequence", "decisive", "first_wrong"].index)
            for start, end in offsets
        ]
        kinds |= set(found)
    assert kinds == {"filler", "answer", "decisive", "first_wrong"} | ({"consequence"} if steps > 1 else set())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0, 5. \\boxed{5}", ["decisive", "decisive", "answer"]),
        ("1, 6. \\boxed{6}", ["first_wrong", "consequence", "answer"]),
        ("1, 5. \\boxed{5}", ["first_wrong", "consequence", "answer"]),  # mended by a second error
        ("0, 5. \\boxed{6}", ["decisive", "decisive", "first_wrong"]),  # written down wrongly
        ("0, 5, 5. \\boxed{5}", ["decisive", "decisive", "first_wrong", "answer"]),  # a step too many
        ("0. \\boxed{5}", ["decisive", "answer"]),  # a shortcut
        ("0. \\boxed{0}", ["decisive", "first_wrong"]),  # stopped too early
        ("\\boxed{4}", ["first_wrong"]),
        ("0, 5", ["decisive", "decisive"]),  # cut off
        ("10, 5", ["first_wrong", "consequence"]),  # not modulo ten
        ("7 + 3 is 0, 0 - 5 is 5. \\boxed{5}", ["decisive", "decisive", "answer"]),  # operands are no values
        ("\\boxed{}", []),
        ("nothing", []),
        ("", []),
    ],
)
def test_labels_of_texts(text: str, expected: list[str]) -> None:
    assert [label for _, label in labelled(text) if label != "filler"] == expected


def test_the_last_box_counts() -> None:
    assert labelled("0 \\boxed{1} 5 \\boxed{5}")[-2] == ("5", "answer")


@given(st.text(alphabet="0123456789 ,.+-\\boxed{}a", max_size=60))
def test_spans_partition_any_text_and_name_at_most_one_first_error(text: str) -> None:
    spans = label_text(Chain.parse("3+4-2+9"), text)
    assert "".join(text[span.start : span.end] for span in spans) == text
    assert all(span.start < span.end for span in spans)
    labels = [span.label for span in spans]
    assert labels.count("first_wrong") <= 1
    if "first_wrong" in labels:
        at = labels.index("first_wrong")
        assert "consequence" not in labels[:at]
        assert "decisive" not in labels[at:]


def test_tokens_without_characters_are_filler() -> None:
    assert label_tokens(Chain.parse(KEY), "0, 5", [(0, 1), (1, 3), (3, 4), (4, 4)]) == [
        "decisive", "filler", "decisive", "filler"
    ]  # fmt: skip
