"""Labels of worked solutions of every family, of rollouts, and of their tokens."""

from itertools import islice
from random import Random

import pytest

from cepo.geometry.problems import FAMILIES, drafts, work_wrongly
from cepo.geometry.worked import parse_markup
from cepo.lab.audit.grammar import parse_equations, parse_geometry, right_paths
from cepo.lab.audit.labels import label_text, path_of, token_spans, tokens_at
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor


@pytest.fixture(scope="module")
def tokenizer():
    return load_processor(str(EMBEDDED)).tokenizer


def label_geometry(draft, text):
    return label_text(text, lambda t: parse_geometry(draft.family, t), right_paths(draft))


@pytest.mark.parametrize("family", FAMILIES)
def test_worked_solutions_parse_as_they_are_labelled(family):
    rng = Random(1)
    for draft in islice(drafts("train", 5, [family]), 40):
        right, wrong = draft.work(), work_wrongly(draft, rng)
        labels = label_geometry(draft, right.text)
        assert labels is not None
        assert labels.spans == right.spans
        assert labels.wrong_from is None
        labels = label_geometry(draft, wrong.text)
        assert labels is not None
        assert labels.spans == wrong.spans
        assert labels.wrong_from is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slip_is_found_where_it_is(family):
    """A slip changes the last computed number: everything before it is right, its first changed digit is not."""
    for draft in islice(drafts("train", 6, [family]), 20):
        right, slipped = draft.work().text, draft.work(slip=1).text
        labels = label_geometry(draft, slipped)
        assert labels is not None
        assert labels.wrong_from is not None
        agreed = next(i for i, (a, b) in enumerate(zip(right, slipped, strict=False)) if a != b)
        assert slipped[labels.wrong_from].isdigit()
        # 9 + 1 = 10: the text already leaves at the digit before, or the number is longer than expected.
        assert agreed - 1 <= labels.wrong_from <= agreed


@pytest.mark.parametrize("family", FAMILIES)
def test_every_phrasing_of_a_family_is_known(family):
    for draft in islice(drafts("held_out", 7, [family]), 100):
        assert parse_geometry(family, draft.work().text) == draft.work().spans


def triangle():
    return next(d for d in drafts("validation", 0, ["triangle_sum"]) if set(d.values) == {30, 75})


@pytest.mark.parametrize(
    ("text", "from_here"),
    [
        (r"The angles of a triangle sum to 180. 75+30=105. 180-105=75. \boxed{75}", None),
        (r"In a triangle the angles add up to 180. 30+75=105. 180-105=75. \boxed{75}", None),
        (r"In a triangle the angles add up to 180. 30+75=105. 180-105=76. \boxed{76}", r"6. \boxed{76}"),
        (r"The angles of a triangle sum to 180. 75+40=115. 180-115=65. \boxed{65}", r"40=115. 180-115=65. \boxed{65}"),
        (
            r"The angles of a triangle sum to 360. 75+30=105. 360-105=255. \boxed{255}",
            r"360. 75+30=105. 360-105=255. \boxed{255}",
        ),
        # A number that stops short is wrong at its last digit.
        (
            r"The angles of a triangle sum to 18. 75+30=105. 180-105=75. \boxed{75}",
            r"8. 75+30=105. 180-105=75. \boxed{75}",
        ),
    ],
)
def test_where_a_rollout_goes_wrong(text, from_here):
    labels = label_geometry(triangle(), text)
    assert labels is not None
    assert labels.wrong_from == (None if from_here is None else len(text) - len(from_here))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        r"The angles of a triangle sum to 180. 75+30=105. \boxed{75}",
        r"The angles of a triangle sum to 180. 75+30=105. 180-105=75. \boxed{75} and so on",
        r"Use Pythagoras. 6^2+14^2=36+196=108. \boxed{108}",
    ],
)
def test_other_texts_do_not_parse(text):
    assert label_geometry(triangle(), text) is None


def test_paths_of_other_lengths_go_wrong_where_they_leave():
    spans = parse_markup("[1+1]=[2]. [2]")
    right = [("1+1", "2", "2", "4")]
    assert label_text(spans[0], lambda _: spans[1], right).wrong_from == len("1+1=2. 2") - 1
    assert label_text(spans[0], lambda _: spans[1], [("1+1", "2")]).wrong_from == len("1+1=2. ")
    with pytest.raises(ValueError, match="one right path or more"):
        label_text(spans[0], lambda _: spans[1], [])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (r"7 + 8 = 15. 15 - 2 = 13. So the answer is \boxed{13}.", ("7 + 8", "15", "15 - 2", "13", "13")),
        (r"(7 + 8) * 2 = 15 * 2 = 30. \boxed{30}", ("(7 + 8) * 2", "15 * 2", "30", "30")),
        (r"7 - 9 = -2. \boxed{-2}", ("7 - 9", "-2", "-2")),
        (r"2.5 * 2 = 5.0. \boxed{5}", ("2.5 * 2", "5.0", "5")),
        (r"7 + 8 = 15 apples. \boxed{15}", ("7 + 8", "15", "15")),
    ],
)
def test_equations(text, path):
    spans = parse_equations(text)
    assert spans is not None
    assert path_of(text, spans) == path
    assert "".join(text[span.start : span.end] for span in spans) == text


@pytest.mark.parametrize(
    "text",
    [
        "7 + 8 = 15. So 15.",
        r"\boxed{13}",
        r"7 + 8 = 15. You have 3 left. \boxed{3}",
        r"7 + 8 = 15. \boxed{}",
        r"7 + 8. \boxed{15}",
    ],
)
def test_no_equations(text):
    assert parse_equations(text) is None


def test_tokens_take_the_labels_of_their_characters(tokenizer):
    text, spans = parse_markup(r"The angle is [90-4]=[86]. \boxed{[86]}")
    ids = tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]
    decoded, places = token_spans(tokenizer, ids)
    assert decoded == text
    assert places[-1] == (len(text), len(text))
    decisive = [text[a:b] for (a, b), hit in zip(places, tokens_at(places, spans), strict=True) if hit]
    assert "".join(decisive) == "90-48686"
    assert "".join(text[a:b] for a, b in places) == text


def test_parts_of_a_character_belong_to_it(tokenizer):
    text = "a°b"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == 4  # the sign is two byte tokens
    decoded, places = token_spans(tokenizer, ids)
    assert decoded == text
    assert places == [(0, 1), (1, 1), (1, 2), (2, 3)]


def test_a_completion_cut_within_a_character(tokenizer):
    ids = tokenizer("a°")["input_ids"][:-1]
    decoded, places = token_spans(tokenizer, ids)
    assert decoded.startswith("a")
    assert places[-1][1] == len(decoded)
