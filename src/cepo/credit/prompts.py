"""Where a reference stands in a teacher's prompt.

A teacher prompt is the student's own prompt ids with one block spliced in, so that the images, their
placeholder tokens and everything else are the student's to the bit. The block is the same for r+ and r-:
only the ids of the reference differ. Text is tokenised here once and never again; completions never are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from cepo.errors import DataError, SettingError
from cepo.glossary import Prompt, ReferenceForm

__all__ = [
    "ANSWER_TEMPLATE", "FEEDBACK_TEMPLATE", "RATIONALE_TEMPLATE", "Place", "PromptStyle", "TeacherPrompts",
    "check_shown", "plain_ids", "written_ids",
]  # fmt: skip

PromptStyle = Literal["user", "prefill"]
"""`user`: the block ends the last user turn. `prefill`: it opens the assistant's turn (the released form)."""

ANSWER_TEMPLATE = " (The answer to this problem is {reference}. Show the steps that lead to it.)"
RATIONALE_TEMPLATE = " (Here is a solution to this problem:\n{reference}\nWrite a solution of your own.)"
FEEDBACK_TEMPLATE = " (This was said of an attempt at this problem:\n{reference}\nWrite a correct solution.)"
PREFILL_TEMPLATE = "{reference}\n"
_USER_TEMPLATES: dict[ReferenceForm, str] = {
    "answer": ANSWER_TEMPLATE,
    "rationale": RATIONALE_TEMPLATE,
    "feedback": FEEDBACK_TEMPLATE,
}

# Cannot come from a data set by accident, has no white space that a chat template might strip, and is in the
# private use area: no tokenizer holds it as a special token.
_SLOT = "\ue000cepo-slot\ue001"

_LEAST_SHOWN = 8

Render = Callable[[Prompt], str]
"""Renders a prompt (messages or a string) to the text that was tokenised, generation prompt included."""


@dataclass(frozen=True)
class _PlainText:
    """Tokenises untrusted text; what that takes of the tokenizer, which is slow to say it, is asked once.

    `special_only`: added tokens that are not special stay tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    special_only: bool = False

    @cached_property
    def _added(self) -> re.Pattern[str] | None:
        added = self.tokenizer.added_tokens_decoder.values()
        names = {token.content for token in added if token.content and (token.special or not self.special_only)}
        return re.compile("|".join(map(re.escape, names))) if names else None

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(id_ for id_ in self.tokenizer.all_special_ids if id_ != self.tokenizer.unk_token_id)

    def ids(self, text: str) -> list[int]:
        """As `plain_ids`."""
        pieces, start, position = [], 0, 0
        while self._added is not None and (match := self._added.search(text, position)):
            cut = match.start() + 1
            pieces.append(text[start:cut])
            start = position = cut
        pieces.append(text[start:])
        ids = [index for piece in pieces for index in self.tokenizer(piece, add_special_tokens=False)["input_ids"]]
        if control := sorted(self._control_ids.intersection(ids)):
            raise DataError(f"the text {text!r} tokenises to control tokens {control}; remove them from it")
        return ids


def check_shown(most: int) -> None:
    """Raise SettingError on a number of tokens that cannot bound a solution."""
    if most and most < _LEAST_SHOWN:
        raise SettingError(f"reference_max_tokens must be 0 (all) or at least {_LEAST_SHOWN}, got {most}")


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokenise untrusted text so that nothing in it becomes a control token.

    Every occurrence of an added token's text (`<|im_end|>`, `<think>`, `<|image_pad|>`, ...) is cut after
    its first character before tokenising, so that it is read as the characters that it is made of.

    Raises:
        DataError: the tokenizer yields a control token even so.
    """
    return _PlainText(tokenizer).ids(text)


def written_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokenise what a model wrote, its end left out: no special token comes of it, as none came into its text.

    An added token that is not special (`<think>`, `<tool_call>`) is one here: decoding shows what a model wrote of it.

    Raises:
        DataError: as `plain_ids`.
    """
    return _PlainText(tokenizer, special_only=True).ids(text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reference stands in a prompt: the student's ids before and after it."""

    before: Sequence[int]
    after: Sequence[int]

    def holding(self, block: Sequence[int]) -> list[int]:
        """The ids with a reference's block."""
        return [*self.before, *block, *self.after]


@dataclass(frozen=True)
class TeacherPrompts:
    """Splices references into prompts. The one place that chooses the words around a reference.

    Attributes:
        tokenizer: the student's.
        render: how a prompt became text, the chat template and its arguments included.
        style: `user` or `prefill`.
        template: text around `{reference}`, for references of any form; None: the style's and the form's own.
        most: tokens of a solution or of feedback that are shown, from its start; 0: all. Answers stay whole.
    """

    tokenizer: PreTrainedTokenizerBase
    render: Render
    style: str = "user"
    template: str | None = None
    most: int = 0

    def __post_init__(self) -> None:
        if self.style not in ("user", "prefill"):
            raise SettingError(f"unknown prompt style {self.style!r}; choose 'user' or 'prefill'")
        if self.template is not None and self.template.count("{reference}") != 1:
            raise SettingError(f"a reference template must hold {{reference}} exactly once, got {self.template!r}")

    def template_for(self, form: ReferenceForm) -> str:
        """The text around a reference of that form."""
        if self.template is not None:
            return self.template
        return PREFILL_TEMPLATE if self.style == "prefill" else _USER_TEMPLATES[form]

    @cached_property
    def _plain(self) -> _PlainText:
        return _PlainText(self.tokenizer)

    @cached_property
    def _around(self) -> dict[ReferenceForm, tuple[list[int], list[int]]]:
        around: dict[ReferenceForm, tuple[list[int], list[int]]] = {}
        for form in _USER_TEMPLATES:
            before, after = self.template_for(form).split("{reference}")
            around[form] = self._plain.ids(before), self._plain.ids(after)
        return around

    def reference_ids(self, reference: str, form: ReferenceForm = "answer") -> list[int]:
        """The block for one reference: template ids around the reference's own, of which `most` stay."""
        before, after = self._around[form]
        ids = self._plain.ids(reference)
        return [*before, *ids[: self.shown(len(ids), form)], *after]

    def shown(self, length: int, form: ReferenceForm) -> int:
        """How many tokens of a reference of so many a teacher reads."""
        return length if form == "answer" or not self.most else min(length, self.most)

    def prompt_ids(
        self, prompt: Prompt, student_ids: Sequence[int], reference: str | None, form: ReferenceForm = "answer"
    ) -> list[int]:
        """A teacher's prompt ids: the given ones with the reference's block; without a reference the given ones.

        Raises:
            DataError: the last turn is not the user's, its text is not rendered, or the student's ids do not end as the
                template does; a string that is a conversation of another template.
        """
        if reference is None:
            return list(student_ids)
        return self.place(prompt, student_ids).holding(self.reference_ids(reference, form))

    def place(self, prompt: Prompt, student_ids: Sequence[int]) -> Place:
        """Where any reference stands in this prompt.

        Raises:
            DataError: as `prompt_ids`.
        """
        if self.style == "prefill":
            return Place(student_ids, ())
        tail = self._tail_ids(prompt, student_ids)
        cut = len(student_ids) - len(tail)
        return Place(student_ids[:cut], tail)

    def _tail_ids(self, prompt: Prompt, student_ids: Sequence[int]) -> list[int]:
        """Ids of what follows the last user turn's text (end of turn, assistant header)."""
        if isinstance(prompt, str):
            closing = self.closing_of(prompt)
        else:
            _, slot, closing = self.render(_with_slot(prompt)).rpartition(_SLOT)
            if not slot:
                raise DataError(
                    "the chat template does not render the text of the last user turn, where the reference would "
                    "stand; use prompt_style='prefill'"
                )
        tail = self.tokenizer(closing, add_special_tokens=False)["input_ids"] if closing else []
        if tail and list(student_ids[-len(tail) :]) != tail:
            raise DataError(
                f"the prompt's ids end with {list(student_ids[-len(tail) :])}, but its chat template closes a user "
                f"turn with {closing!r} = {tail}: the reference cannot be spliced in; use prompt_style='prefill'"
            )
        return tail

    @cached_property
    def _control_tokens(self) -> list[str]:
        """Special tokens that mark turns and the like; the one that opens every text is none."""
        special = {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        opening = {str(self.tokenizer.bos_token), ""}
        return sorted({*special, *map(str, self.tokenizer.all_special_tokens)} - opening)

    def closing_of(self, text: str) -> str:
        """What ends a string's user turn: nothing in plain text, the template's closing in a text that it wrote.

        Raises:
            DataError: control tokens in the string, and another ending than this model's template gives.
        """
        first = min((token for token in self._control_tokens if token in text), key=text.index, default=None)
        if first is None:
            return ""
        if self.tokenizer.chat_template is not None:
            closing = self.render(_with_slot([{"role": "user", "content": ""}])).rpartition(_SLOT)[2]
            if closing and text.endswith(closing):
                return closing
        raise DataError(
            f"a prompt given as a string holds {first!r}, as a chat template writes it, but does not end as this "
            "model's template ends a user turn: where a reference belongs cannot be said. As prompts give messages "
            "(role and content), or use prompt_style='prefill'"
        )


def _with_slot(prompt: Sequence[Mapping[str, Any]]) -> Prompt:
    """Messages with the slot at the end of their last user turn."""
    if not prompt or prompt[-1].get("role") != "user":
        role = prompt[-1].get("role") if prompt else None
        raise DataError(f"the last message of a prompt must be the user's, got role {role!r}")
    *earlier, last = prompt
    content = last["content"]
    if isinstance(content, str):
        content = content + _SLOT
    elif content and content[-1].get("type") == "text":
        content = [*content[:-1], {**content[-1], "text": content[-1]["text"] + _SLOT}]
    else:
        content = [*content, {"type": "text", "text": _SLOT}]
    return [*earlier, {**last, "content": content}]
