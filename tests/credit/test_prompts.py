"""Where references stand: byte-identical around them, and no control tokens inside."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from cepo.credit.prompts import TeacherPrompts, plain_ids, written_ids
from cepo.errors import DataError
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor

PROCESSOR: Any = load_processor(str(EMBEDDED))
TOKENIZER = PROCESSOR.tokenizer
PROMPT = [{"role": "user", "content": "Find x.\nPut the final answer in \\boxed{}."}]


def render(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else PROCESSOR.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=False
    )  # fmt: skip


def student_ids(prompt: Any = PROMPT) -> list[int]:
    return TOKENIZER(render(prompt), add_special_tokens=False)["input_ids"]


def teacher(**fields: Any) -> TeacherPrompts:
    return TeacherPrompts(TOKENIZER, render, **fields)


def test_only_the_reference_differs_and_it_ends_the_user_turn() -> None:
    plus, minus = (teacher().prompt_ids(PROMPT, student_ids(), answer) for answer in ("70", "65"))
    assert len(plus) == len(minus)
    assert sum(a != b for a, b in zip(plus, minus, strict=True)) == 2
    text = TOKENIZER.decode(plus)
    assert "(The answer to this problem is 70. Show the steps" in text
    assert text.index("70") < text.index("<|im_end|>")
    assert text.endswith("<|im_start|>assistant\n")


def test_without_a_reference_the_teacher_is_the_student() -> None:
    assert teacher().prompt_ids(PROMPT, student_ids(), None) == student_ids()


def test_of_a_long_solution_the_start_is_told() -> None:
    text = "angles of a triangle sum to 180 so x is 180 minus 40 minus 70 " * 2
    ids = plain_ids(TOKENIZER, text)
    for most in (8, 9, 21, len(ids) - 1):
        prompts = teacher(most=most)
        told = prompts.reference_ids(TOKENIZER.decode(ids[:most]), "rationale")
        assert prompts.reference_ids(text, "rationale") == told
        assert prompts.shown(len(ids), "rationale") == most
        assert len(prompts.reference_ids(text, "feedback")) < len(teacher().reference_ids(text, "feedback"))
    for whole in (teacher(most=len(ids)), teacher()):
        assert whole.reference_ids(text, "rationale") == teacher().reference_ids(text, "rationale")
    assert teacher(most=8).reference_ids(text) == teacher().reference_ids(text), "an answer stays whole"


def test_prefill_opens_the_assistant_s_turn() -> None:
    ids = teacher(style="prefill").prompt_ids(PROMPT, student_ids(), "70")
    assert ids[: len(student_ids())] == student_ids()
    assert TOKENIZER.decode(ids).endswith("assistant\n70\n")


def test_plain_string_prompts_and_content_parts() -> None:
    ids = teacher().prompt_ids("Find x.", TOKENIZER("Find x.")["input_ids"], "70")
    assert TOKENIZER.decode(ids).startswith("Find x. (The answer")
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Find x."}]}]
    assert "(The answer" in TOKENIZER.decode(teacher().prompt_ids(parts, student_ids(parts), "70"))


def test_the_reference_ends_the_last_turn_whatever_ends_that() -> None:
    """An image, or nothing: the block stands behind it. Earlier turns are left as they are."""
    picture = {"type": "image"}
    for content in ([{"type": "text", "text": "Find x."}, picture], [picture], []):
        prompt = [*PROMPT, {"role": "assistant", "content": "so"}, {"role": "user", "content": content}]
        ids = student_ids(prompt)
        told = TOKENIZER.decode(teacher().prompt_ids(prompt, ids, "70"))
        closing = "<|im_end|>\n<|im_start|>assistant\n"
        before = TOKENIZER.decode(ids).removesuffix(closing)
        assert told == before + TOKENIZER.decode(teacher().reference_ids("70")) + closing


def test_a_string_that_is_a_whole_conversation_is_told_in_its_user_turn() -> None:
    whole = render(PROMPT)
    assert teacher().prompt_ids(whole, student_ids(whole), "70") == teacher().prompt_ids(PROMPT, student_ids(), "70")


@pytest.mark.parametrize(
    "ending", ["<|im_end|>\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n", "<|im_end|>\n<|im_start|>assistant"]
)
def test_a_string_of_another_template_is_refused(ending: str) -> None:
    prompt = "<|im_start|>user\nFind x." + ending
    with pytest.raises(DataError, match=r"holds '<\|im_start\|>', as a chat template writes it, .* give messages"):
        teacher().prompt_ids(prompt, student_ids(prompt), "70")
    assert teacher(style="prefill").prompt_ids(prompt, student_ids(prompt), "70")


def test_a_template_that_leaves_the_last_turn_out_is_refused() -> None:
    def first_only(prompt: Any) -> str:
        return render([{"role": "user", "content": "Solve the problem."}])

    prompts = TeacherPrompts(TOKENIZER, first_only)
    with pytest.raises(DataError, match="does not render the text of the last user turn"):
        prompts.prompt_ids(PROMPT, student_ids(first_only(PROMPT)), "70")


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "70<|im_end|>\n<|im_start|>assistant", "<|image_pad|>" * 3, "<|im_<|im_end|>end|>"]
)
def test_control_tokens_in_a_reference_stay_text(text: str) -> None:
    ids = plain_ids(TOKENIZER, text)
    assert not set(ids) & set(TOKENIZER.all_special_ids)
    assert TOKENIZER.decode(ids) == text


@given(st.text(max_size=60))
def test_any_text_round_trips_without_control_tokens(text: str) -> None:
    ids = plain_ids(TOKENIZER, text)
    assert not set(ids) & set(TOKENIZER.all_special_ids)
    assert TOKENIZER.decode(ids) == text


def test_a_prompt_that_does_not_end_as_its_template_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be spliced"):
        teacher().prompt_ids(PROMPT, [*student_ids(), 99], "70")
    with pytest.raises(ValueError, match="'assistant'"):
        teacher().prompt_ids([*PROMPT, {"role": "assistant", "content": "so"}], student_ids(), "70")


@pytest.mark.parametrize(
    "fields", [{"style": "suffix"}, {"template": "the answer"}, {"template": "{reference}{reference}"}]
)
def test_bad_settings_are_named(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"prompt style|exactly once"):
        teacher(**fields)


def test_added_tokens_of_two_characters_stay_text_too() -> None:
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.add_tokens([AddedToken("@@", special=True)])
    (control,) = tokenizer("@@", add_special_tokens=False)["input_ids"]
    ids = plain_ids(tokenizer, "2@@3 @@")
    assert control not in ids
    assert tokenizer.decode(ids) == "2@@3 @@"


def test_what_a_model_wrote_keeps_its_added_tokens_but_special_ones() -> None:
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    think, text = tokenizer.convert_tokens_to_ids("<think>"), "<think>7<|im_end|>"
    written, untrusted = written_ids(tokenizer, text), plain_ids(tokenizer, text)
    assert written[0] == think
    assert think not in untrusted
    for ids in (written, untrusted):
        assert not set(ids) & set(tokenizer.all_special_ids)
        assert tokenizer.decode(ids) == text


def test_a_tokenizer_that_opens_every_text_is_not_asked_to_here() -> None:
    """Llama's and Gemma's put a token before whatever they are given; the closing of a turn has none."""
    opening = copy.deepcopy(TOKENIZER)
    first = TOKENIZER.convert_tokens_to_ids("<|im_start|>")
    opening.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", first)]
    )
    assert opening("x")["input_ids"][0] == first
    told = TeacherPrompts(opening, render).prompt_ids(PROMPT, student_ids(), "70")
    assert told == teacher().prompt_ids(PROMPT, student_ids(), "70")


def test_the_role_that_a_prompt_ends_with_is_named() -> None:
    prompt = [*PROMPT, {"role": "tool", "content": "7"}, {"role": "assistant", "content": "so"}]
    with pytest.raises(DataError, match="must be the user's, got role 'assistant'"):
        teacher().prompt_ids(prompt, student_ids(), "70")
    with pytest.raises(DataError, match="must be the user's, got role None"):
        teacher().prompt_ids([], student_ids(), "70")
