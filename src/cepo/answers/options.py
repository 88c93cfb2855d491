r"""Answers to multiple choice: which option, or options, an answer names.

>>> same_option("C. A triangle", "C"), same_option("(A) or (B)", "A"), same_option("AC", "A, C")
(True, False, True)
"""

from __future__ import annotations

import re

__all__ = ["same_option"]

_GOLD = re.compile(
    r"(?P<open>\()?(?P<option>[A-Z]|(?(open)[a-z]|[a-z](?=\))))(?(open)\)|\)?)(?P<text>(?<=\))\s*\S.*|[.:]\s+\S.*)?",
    re.DOTALL,
)
_LEAD = (
    r"(?:(?i:the\s+)?(?i:correct\s+|final\s+|best\s+)?(?i:option|choice|answer)(?i:\s+is)?\s*:?\s*"
    r"|(?:故?[选選]项?|答案(?:是|为|選|选)?|故答案为|选择)\s*[::]?\s*)"
)
_CHOSEN = re.compile(
    rf"(?P<lead>{_LEAD})?(?P<open>[(\[])?\s*(?P<option>[A-Za-z])(?P<close>\s*[)\]])?(?P<mark>[.:,、]?)(?P<text>.*)",
    re.DOTALL,
)
_SECOND = re.compile(r"\s*(?:[,/&+]|or\b|and\b|\(?[A-Z]\)?(?:[).:,](?:\s|$)|$)|\([A-Z]\))")
"""A second option at once after the first: "(A) or (B)" names neither."""
_ONLY_LETTERS = re.compile(r"(?:[^\w\\]*\b[A-Z]\b)+\W*")
"""Nothing but options: the text of no option."""
_SEVERAL = re.compile(r"\(?[A-Z]\)?(?:\s*(?:,|;|/|&|\band\b|、)\s*(?:and\s+)?\(?[A-Z]\)?)+")
_GLUED = re.compile(r"[A-Z]{2,8}")


def same_option(candidate: str, gold: str) -> bool | None:
    """Whether `candidate` names the option or options of `gold`; None where gold is no option."""
    if _SEVERAL.fullmatch(gold):
        return _same_several(candidate, gold)
    match = _GOLD.fullmatch(gold)
    if match is None:
        return None
    text = (match["text"] or "").lstrip(" .:")
    if text and (len(match["option"]) > 1 or not re.search("[A-Za-z0-9]", text) or text[:1] in "=<>+-*/^_(,"):
        return None
    if text and _plain(candidate) == _plain(text):
        return True
    chosen = _CHOSEN.fullmatch(candidate)
    if chosen is None or not _names_one(chosen):
        return None if text else False
    explicit = bool(chosen["lead"] or chosen["close"] or match["open"])
    ours, theirs = chosen["option"], match["option"]
    # Case counts for a bare letter, which may be a variable: r is not R.
    if ours != theirs and not (explicit and ours.upper() == theirs.upper()):
        return False
    return not (text and _text_after(chosen)) or _plain(_text_after(chosen)) == _plain(text)


def _names_one(chosen: re.Match[str]) -> bool:
    """Whether the letter is the answer, and what follows it the option's text."""
    if (chosen["open"] is None) != (chosen["close"] is None) and chosen["open"]:
        return False
    rest = chosen["text"]
    if not rest.strip():
        return chosen["mark"] != ","
    if _SECOND.match(rest) or _ONLY_LETTERS.fullmatch(rest) or chosen["mark"] == ",":
        return False
    return (
        bool(chosen["close"])
        or chosen["mark"] in (".", ":")
        or re.fullmatch(r" +\((?!or\b|and\b|not\b)[^()]{2,}\)", rest) is not None
    )


def _text_after(chosen: re.Match[str]) -> str:
    return chosen["text"].strip(" .:")


def _plain(text: str) -> str:
    return re.sub(r"[\s.]+", "", text).casefold()


def _same_several(candidate: str, gold: str) -> bool | None:
    wanted = re.findall("[A-Z]", gold.replace("and", ""))
    if _SEVERAL.fullmatch(candidate):
        return sorted(re.findall("[A-Z]", candidate.replace("and", ""))) == sorted(wanted)
    found = re.fullmatch(rf"(?:{_LEAD})?\(?([A-Z]{{2,8}})\)?", candidate)
    return sorted(found[1]) == sorted(wanted) if found else None


def same_glued_options(candidate: str, gold: str) -> bool:
    """Whether gold is AC and the candidate "A, C": the letters one by one; of three and more in their order."""
    listed = _SEVERAL.fullmatch(candidate) and "".join(re.findall("[A-Z]", candidate.replace("and", "")))
    if not listed or not _GLUED.fullmatch(gold):
        return False
    return listed == gold or (len(gold) == 2 and listed[::-1] == gold)
