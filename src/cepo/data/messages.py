"""Prompts as the trainer wants them, messages whose content is text, images apart in their own column; and back: the
text of a completion.

TRL puts a row's images in front of the text of its first user message. So a mark in the text or an image
part between text parts, which says where an image stood, is counted and taken out: where it stood is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from cepo.answers import BOXED, Grading
from cepo.data.rows import user_prompt
from cepo.errors import DataError
from cepo.glossary import Completion

__all__ = ["IMAGE_MARK", "completion_text", "prompt_messages", "solution_text"]

IMAGE_MARK = "<image>"
_ROLES = ("system", "user", "assistant", "tool")


def prompt_messages(prompt: object, images: int, grading: Grading = BOXED) -> list[dict[str, str]]:
    """The conversational prompt of a question (a string) or of messages, for a row with `images` images.

    Where nothing in the prompt speaks of the answer format of `grading`, the sentence that asks for it
    is added, for the grader reads nothing else.

    Raises:
        DataError: no text, a malformed message, no user message, or marks and image parts that are neither
            absent nor as many as the images.
    """
    messages, marks = _flattened([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)
    asked = [message for message in messages if message["role"] == "user"]
    if not asked or not (images or any(message["content"] for message in asked)):
        raise DataError(f"the prompt asks nothing: {prompt!r:.80}")
    if marks not in (0, images):
        raise DataError(f"the prompt marks {marks} images ({IMAGE_MARK} or image parts), the row has {images}")
    if not any(grading.is_asked_in(message["content"]) for message in messages):
        asked[-1]["content"] = user_prompt(asked[-1]["content"], grading)[0]["content"].strip()
    return messages


def _unmarked(text: str) -> tuple[str, int]:
    return text.replace(IMAGE_MARK, "").strip(), text.count(IMAGE_MARK)


def _flattened(prompt: object) -> tuple[list[dict[str, str]], int]:
    """Messages with string content, and the number of marks and image parts taken out."""
    if not isinstance(prompt, list) or not prompt:
        raise DataError(f"a prompt is a string or a list of messages, got {type(prompt).__name__} {prompt!r:.80}")
    messages, total = [], 0
    for message in prompt:
        if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
            raise DataError(f"a message has a role of {'/'.join(_ROLES)} and a content, got {message!r:.80}")
        text, marks = _content(message.get("content"))
        messages.append({"role": message["role"], "content": text})
        total += marks
    return messages, total


def _content(content: object) -> tuple[str, int]:
    if isinstance(content, str):
        return _unmarked(content)
    if not isinstance(content, list):
        raise DataError(f"a message's content is text or a list of parts, got {content!r:.80}")
    texts, images = [], 0
    for part in content:
        # Parquet gives every part every other part's keys, with None.
        given = {k: v for k, v in part.items() if v is not None} if isinstance(part, Mapping) else {}
        text = given.get("text")
        if given == {"type": "image"}:
            images += 1
        elif isinstance(text, str) and given == {"type": "text", "text": text}:
            texts.append(text)
        else:
            raise DataError(
                f"a part is {{type: text, text}} or {{type: image}} with its image in the column `images`, "
                f"got {part!r:.80}"
            )
    text, marks = _unmarked("".join(texts))
    return text, images + marks


def completion_text(completion: Completion) -> str:
    """What the model wrote: the text, or the contents of all assistant messages, one per line.

    Tool results are not the model's words and do not count; image parts have no text.

    Raises:
        TypeError: neither a string nor messages.
    """
    if isinstance(completion, str):
        return completion
    return "\n".join(_words(message) for message in _own_messages(completion))


def solution_text(completion: Completion) -> str:
    """The same with the tools that the model called, each as `name(argument="value")` behind its turn's words.

    What a reader is told of how a problem was solved: a turn that only calls a tool has decided something too.

    Raises:
        TypeError: as `completion_text`.
    """
    if isinstance(completion, str):
        return completion
    return "\n".join(_words_and_calls(message) for message in _own_messages(completion))


def _own_messages(completion: object) -> list[Mapping[str, Any]]:
    if not isinstance(completion, Sequence) or not all(isinstance(message, Mapping) for message in completion):
        raise TypeError(f"a completion is a string or a list of messages, got {completion!r:.80}")
    messages = cast(Sequence[Mapping[str, Any]], completion)
    return [message for message in messages if message.get("role") == "assistant"]


def _words(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(part.get("text") or "" for part in content)
    return content or ""  # a message that only calls a tool has no content


def _words_and_calls(message: Mapping[str, Any]) -> str:
    calls = [_call(call.get("function") or {}) for call in message.get("tool_calls") or ()]
    return " ".join([_words(message).strip(), *calls]).strip() if calls else _words(message)


def _call(function: Mapping[str, Any]) -> str:
    given = function.get("arguments") or {}
    if isinstance(given, Mapping):
        given = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items())
    return f"{function.get('name')}({given})"
