r"""What a completion answers: the content of its last box, its `<answer>` tags, or what follows "the answer is".

>>> extract_answer(r"The roots are $\boxed{2}$ and $\boxed{3}$.")
'2, 3'
>>> extract_answer("So the answer is $5$ because 2+3=5.", "phrase")
'5'
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from cepo.answers.dressing import undress
from cepo.answers.figures import decimal_figure

__all__ = [
    "ANSWER_INSTRUCTIONS",
    "AnswerFormat",
    "after_thinking",
    "answer_spans",
    "boxed_spans",
    "extract_answer",
    "follows_format",
]

AnswerFormat = Literal["boxed", "tags", "phrase", "auto"]
"""How a completion marks its answer. `auto` takes the last box, else the last tags, else the last phrase."""

ANSWER_INSTRUCTIONS: dict[AnswerFormat, str] = {
    "boxed": r"Put the final answer in \boxed{}.",
    "tags": "Put the final answer between <answer> and </answer>.",
    "phrase": 'End with "The answer is", followed by the final answer.',
    "auto": r"Put the final answer in \boxed{}.",
}
"""The sentence that asks for each format, for prompts."""

MAX_BOXES = 64
"""Boxes that one list of answers may have."""
MAX_TEXT_CHARS = 1_000_000
"""Only so many characters at the end of a completion are read."""

_TOKEN = re.compile(
    r"\\{1,2}boxed\s*\{|\\{1,2}boxed\s*(?P<bare>[-+]?[0-9][0-9.,/]*|[A-Za-z](?![A-Za-z])|\\[dt]?frac\s*\{[^{}]*\}\s*\{[^{}]*\})"
    r"|\\.|[{}]",
    re.DOTALL,
)
_THINK = re.compile(r"<(/?)think(?:ing)?>")
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_PHRASE = re.compile(
    r"(?:\banswer(?:\s+to\b[^.\n]{0,80}?)?(?:\s+is\b|\s*[:=])|\banswer\b\W{0,4}:|答案(?:是|为|：|:)|####)[:\s*]*",
    re.IGNORECASE,
)
_AND = r"(?:[\s$.,;:~]|\\[,;()\[\] ]|\\q?quad|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b|和|或|、|，)*"
_JOINT = re.compile(_AND)
_JOINT_MARK = re.compile(r"[,;、，和或]|\band\b|\bor\b")
_ABOUT = re.compile(
    r"[\s$(,]*(?:\\text\{)?(?:\\approx|≈|(?:or |which is |that is )?(?:approximately|about|roughly))[\s$}:]*",
    re.IGNORECASE,
)


def after_thinking(text: str) -> str:
    """What a completion says once it has thought: the text after its last `</think>`.

    Nothing where a `<think>` is never closed. Text without such tags is all answer.
    """
    marks = list(_THINK.finditer(text))
    if not marks:
        return text
    return text[marks[-1].end() :] if marks[-1][1] else ""


def boxed_spans(text: str) -> list[tuple[int, int]]:
    r"""Where the contents [start, end) of every well-formed `\boxed{...}` stand, in characters, by start.

    Braces are matched; `\{` and `\}` are no braces, and a box that is never closed is no box. A box without
    braces holds one number, letter or fraction (`\boxed 7`), and a doubled backslash is read as one. Linear in
    the text, of which the last million characters are read.
    """
    spans: list[tuple[int, int]] = []
    open_boxes: list[int | None] = []  # one entry per open brace: where a box's content starts, or None
    for token in _TOKEN.finditer(text, max(0, len(text) - MAX_TEXT_CHARS)):
        mark = token.group()
        if token["bare"]:
            spans.append((token.start("bare"), token.start("bare") + len(token["bare"].rstrip(".,/"))))
        elif mark == "}":
            start = open_boxes.pop() if open_boxes else None
            if start is not None:
                spans.append((start, token.start()))
        elif mark == "{":
            open_boxes.append(None)
        elif mark.endswith("{") and "boxed" in mark:
            open_boxes.append(token.end())
    return sorted(spans)


def answer_spans(text: str) -> list[tuple[int, int]]:
    r"""The boxes that together are the answer: the last one, and those that stand with it in a list.

    A last box that only approximates the box before it, as in `\boxed{\pi} \approx \boxed{3.14}`, is left out.
    """
    spans = boxed_spans(text)
    if len(spans) > 1 and _only_approximates(text, spans[-2], spans[-1]):
        return [spans[-2]]
    taken = spans[-1:]
    for earlier in spans[-2 : -MAX_BOXES - 1 : -1]:
        if not _stand_together(text, earlier, taken[-1]):
            break
        taken.append(earlier)
    return taken[::-1]


def _between(text: str, first: tuple[int, int], second: tuple[int, int]) -> str | None:
    """What stands between two boxes; None where one holds the other."""
    if first[1] > second[0]:
        return None
    between = text[first[1] : second[0]].removeprefix("}")
    return re.sub(r"\\{1,2}boxed\s*\{?$", "", between)


def _stand_together(text: str, first: tuple[int, int], second: tuple[int, int]) -> bool:
    between = _between(text, first, second)
    return (
        between is not None
        and len(between) < 60
        and "\n" not in between
        and _JOINT_MARK.search(between) is not None
        and _JOINT.fullmatch(between) is not None
        and not re.search(r"\.\s", between)
        and bool(text[second[0] : second[1]].strip())
    )


def _only_approximates(text: str, first: tuple[int, int], second: tuple[int, int]) -> bool:
    between = _between(text, first, second)
    if between is None or len(between) > 60 or not _ABOUT.fullmatch(between):
        return False
    figure = decimal_figure(undress(text[second[0] : second[1]]))
    return figure is not None and bool(figure.decimals)


def extract_answer(text: str, answer_format: AnswerFormat = "boxed", *, thinking_counts: bool = False) -> str | None:
    r"""The answer that a completion gives, stripped; None where it gives none, or an empty one.

    Of nested boxes the innermost counts, for it starts last; boxes on one line that are joined by a comma or by
    "and" are one list. What stands in `<think>` is no answer, unless `thinking_counts`. The answer may be
    longer than an answer can be (`MAX_ANSWER_CHARS`).

    Raises:
        ValueError: no such format.
    """
    if answer_format not in get_args(AnswerFormat):
        raise ValueError(f"unknown answer_format {answer_format!r}: choose from {', '.join(get_args(AnswerFormat))}")
    text = _read(text, thinking_counts)
    if answer_format == "auto":
        return _boxed(text) or _tagged(text) or _phrased(text)
    return {"boxed": _boxed, "tags": _tagged, "phrase": _phrased}[answer_format](text)


def _read(text: str, thinking_counts: bool) -> str:
    """The part of a completion that may hold its answer; where thinking counts, its tags end a line."""
    text = text[-MAX_TEXT_CHARS:]
    return _THINK.sub("\n", text) if thinking_counts else after_thinking(text)


def _boxed(text: str) -> str | None:
    contents = [text[start:end].strip() for start, end in answer_spans(text)]
    if len(set(contents)) == 1:
        contents = contents[:1]
    return ", ".join(contents) or None


def _tag_spans(text: str) -> list[tuple[int, int]]:
    """Where the contents of `<answer>...</answer>` stand; of two openings the later counts."""
    spans, start = [], None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            spans.append((start, tag.start()))
            start = None
    return spans


def _tagged(text: str) -> str | None:
    spans = _tag_spans(text)
    if not spans:
        return None
    inside = text[slice(*spans[-1])]
    return _boxed(inside) or _unmarked(inside)


def _phrased(text: str) -> str | None:
    """What follows the last "the answer is" on its line, up to the end of the sentence."""
    phrases = list(_PHRASE.finditer(text))
    if not phrases:
        return None
    rest = text[phrases[-1].end() :].lstrip().partition("\n")[0]
    if boxed := _boxed(rest):
        return boxed
    if match := re.match(r"\$([^$]+)\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]", rest):
        tail = re.match(r"[ ,]*(?:and|or|,)[ ,]*\$", rest[match.end() :])
        if tail is None:
            return next(filter(None, match.groups())).strip()
    sentence = re.split(
        r"(?<![0-9])\.(?=\s|$)|(?<=[0-9])\.(?=\s|$)|[!?](?=\s)|,?\s(?:because|since|as|which|so)\s", rest
    )[0]
    return _unmarked(sentence)


def _unmarked(text: str) -> str | None:
    return text.strip().strip("*").rstrip(".").strip() or None


def follows_format(text: str, answer_format: AnswerFormat = "boxed", *, thinking_counts: bool = False) -> bool:
    r"""Whether a completion marks one answer as asked, and says no more after it.

    Punctuation, `$` and `\)` may follow; a letter or a digit may not. `auto` is followed by any of the formats.
    """
    text = _read(text, thinking_counts)
    if answer_format == "auto":
        return any(follows_format(text, one, thinking_counts=True) for one in ("boxed", "tags", "phrase"))
    if extract_answer(text, answer_format, thinking_counts=True) is None:
        return False
    if answer_format == "boxed":
        spans = boxed_spans(text)
        return spans == answer_spans(text) and not re.search(r"[^\W_]", text[spans[-1][1] :])
    if answer_format == "tags":
        spans = _tag_spans(text)
        return len(spans) == 1 and not re.search(r"[^\W_]", text[spans[0][1] + len("</answer>") :])
    last = list(_PHRASE.finditer(text))[-1]
    return "\n" not in text[last.end() :].strip()
