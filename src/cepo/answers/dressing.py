r"""Takes off what only typesets an answer, and writes what remains in one way, so that it can be read.

Upright words stay marked, as `\text{...}`: `5 \mathrm{~m}` is five metres, while `5 m` may be five times m.

>>> undress(r"$\left(1, \tfrac12\right)$."), undress(r"\textcolor{red}{12}~\mathrm{cm}")
('(1, \\frac12)', '12 \\text{cm}')
"""

from __future__ import annotations

import re

from cepo.answers.characters import plain_characters
from cepo.answers.vocabulary import words

__all__ = ["key", "undress", "without_marks"]

_END = r"(?![A-Za-z])"
_UPRIGHT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|md|up|normal|sc|sl|superscript)?|emph|math(?:rm|sf|tt)|mbox|hbox|rm|operatorname\*?)"
    r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_SLANTED = re.compile(
    r"\\(?:math(?:bf|it|cal|scr|normal|ds)|boldsymbol|bm|pmb|underline|overbrace|underbrace|uline|ensuremath|boxed"
    r"|fbox|(?:text)?color\s*\{[^{}]*\}|bold|mathstrut|displaystyle|cancel|colorbox\s*\{[^{}]*\}|fcolorbox\s*\{[^{}]*\}\s*\{[^{}]*\}|bbox\s*\[[^\[\]]*\])\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_UPRIGHT_SYMBOLS = words("e i d sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp max gcd lcm")
_FIRST = [
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\\(?:no)?tag\*?\s*(?:\{[^{}]*\})?", " "),
        (r"\\color\s*\{[^{}]*\}(?!\s*\{)", ""),
        (rf"\\(?:left|right|[bB]igg?[lrm]?|middle|displaystyle|textstyle|limits|nolimits|strut){_END}\.?", ""),
        (r"\\(?:\\)?\[[0-9.]+(?:pt|em|ex)\]", r"\\\\"),
        (r"(?<!\\)\\!\s*|\\(?:hspace|vspace|phantom|kern)\*?\s*\{[^{}]*\}", ""),
        (rf"(?<!\\)\\[,;:> ]|~|\\(?:q?quad|thinspace|space|enspace|nobreakspace){_END}", " "),
        (r"(?<!\\)\\[()\[\]]|(?<!\\)\$", ""),
        (r"\{([^{}]{1,40}?)\\choose(?![A-Za-z])([^{}]{1,40})\}", r"\\binom{\1}{\2}"),
        (r"^\s*\{([^{}]*)\}\s*$", r"\1"),
        (r"^\s*__(.*)__\s*$", r"\1"),
        (r"^\s*[*`\"]+|[*`\"]+\s*$", ""),
        (r"\{\s*\\rm\s+([^{}]*)\}", r"\\text{\1}"),
        (
            rf"\\(?:bf|it|sf|tt|bfseries|itshape|tiny|small|normalsize|large|Large|LARGE|huge|Huge|rm(?!\s*\{{)){_END}",
            "",
        ),
        (rf"\\(?:checkmark|blacksquare|square|Box|qed|quad){_END}\s*$", ""),
        (r"^(\s*-?\s*[0-9]*\.[0-9]*)\(([0-9]+)\)\s*$", r"\1\\overline{\2}"),
        (r"\{,\}", ","),
        (r"^\s*(?:\\text\s*\{\s*)?(?:USD|US\\?\$)\s*\}?\s*(?=[0-9.])", r"\$"),
        (r"^\s*(?:EUR|euros?)\s*(?=[0-9.])", "€"),
        (r"^\s*(?:Rs\.?|INR)\s*(?=[0-9.])", "₹"),
    )
]
_THEN = [
    (re.compile(pattern), plain)
    for pattern, plain in (
        (rf"\\[dtc]frac{_END}", r"\\frac"),
        (r"\\frac\s*\{\s*(\\text\{[^{}]*\})\s*\}\s*\{\s*(\\text\{[^{}]*\})\s*\}", r"\1/\2"),
        (r"\(\s*(\\text\{[^{}]*\})\s*\)\s*$", r"\1"),
        (rf"(?:\{{\s*\}})?\^\s*(?:\{{\s*\\circ\s*\}}|\\circ{_END}|\{{\s*°\s*\}}|°)|\\degree{_END}", "°"),
        (r"(?<=[0-9)}])\s*\\circ\s*$", "°"),
        (r"°\s*\\?\s*(?:\\text\{\s*([CF])\s*\}|([CF])(?![A-Za-z]))", r"\\text{°\1\2}"),
        (rf"<=|=<|\\leqslant{_END}|\\leq{_END}|\\leqq{_END}", r"\\le "),
        (rf">=|\\geqslant{_END}|\\geq{_END}|\\geqq{_END}", r"\\ge "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"!=|\\neq{_END}|\\not\s*=", r"\\ne "),
        (rf"\\(?:dots[a-z]?|cdots){_END}|\.\.\.", r"\\ldots "),
        (r"\\%", "%"),
        (rf"\\(?:varnothing|O){_END}", r"\\emptyset "),
        (rf"\\(?:bullet|ast){_END}", r"\\cdot "),
        (rf"\\(?:Bbb|mathds){_END}", r"\\mathbb"),
        (r"\\mathbb\s*([A-Z])", r"\\mathbb{\1}"),
        (rf"\\(?:colon){_END}", ":"),
        (rf"\\varphi{_END}", r"\\phi "),
        (rf"\\varepsilon{_END}", r"\\epsilon "),
        (rf"(?<![A-Za-z])m\s*\\angle{_END}", r"\\angle"),
        (rf"\\measuredangle{_END}", r"\\angle"),
        (r"\*\*", "^"),
        (r"\s+", " "),
        (r"^\s*(?:(?:\\(?:Rightarrow|implies|therefore|iff|to|longrightarrow)(?![A-Za-z])|[=:])\s*)+", ""),
        (rf"^\s*\\approx{_END}", ""),
    )
]
_CHINESE_OPTION = re.compile(r"^\s*([A-Z])、(?![A-Z])")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2,})")
"""A backslash that was doubled on its way through JSON; in a matrix it ends a row."""
_LAST = re.compile(r"(?<!\\ldots )[\s.,;:?\\]+$")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{(?:aligned|align\*?|split|gathered?\*?|equation\*?|displaymath)\}")
_SYSTEM = re.compile(r"(?:\\\{\s*)?\\begin\s*\{(?:cases|array)\}(?:\s*\{[lcr|]*\})?(?=[^\\&]*=)")
"""A system of equations: its lines are equations, not the rows of a matrix."""
_SYSTEM_END = re.compile(r"\\end\s*\{(?:cases|array)\}")
_ORDINAL = re.compile(r"(?<=[0-9])\s*(?:\^\s*)?(?:\{\s*)?(?:\\text\s*\{\s*)?(?:st|nd|rd|th)(?![A-Za-z])(?:\s*\})*")
_SPACED_GROUPS = re.compile(r"(?<![0-9.,/] )(?<![0-9.,/])[0-9]{1,3}(?: [0-9]{3})+(?![0-9]| ?/)")


def undress(text: str) -> str:
    """The answer without what only typesets it; perhaps empty."""
    text = plain_characters(_CHINESE_OPTION.sub(r"\1. ", text))
    if "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    for pattern, plain in _FIRST:
        text = pattern.sub(plain, text)
    if "\\begin" in text:
        text = _lines(text)
    text = _unwrap(text)
    for pattern, plain in _THEN:
        text = pattern.sub(plain, text)
    text = _ORDINAL.sub("", text) if re.search("[0-9]", text) else text
    text = _SPACED_GROUPS.sub(lambda match: match.group().replace(" ", ""), text)
    return _LAST.sub("", text).strip()


def _lines(text: str) -> str:
    r"""`\begin{aligned} x &= 2+3 \\ &= 5 \end{aligned}` as "x = 2+3 = 5"; lines that start anew part with commas."""
    if _SYSTEM.search(text) and "&" not in text:
        text = _SYSTEM_END.sub("", _SYSTEM.sub("", text))
    elif _ENVIRONMENT.search(text) is None:
        return text
    lines = [line.replace("&", " ").strip() for line in _ENVIRONMENT.sub("", text).split("\\\\")]
    joined = ""
    for line in filter(None, lines):
        joined += (" " if not joined or re.match(r"=|\\(?:approx|le|ge)", line) else ", ") + line
    return joined


def _unwrap(text: str) -> str:
    for _ in range(12):  # deeper nesting than this is no answer
        before = text
        text = _SLANTED.sub(lambda match: f" {match[1]} " if match[1] else "", text)
        text = _UPRIGHT.sub(_mark, text)
        if text == before:
            break
    return text.replace("\\WORDS{", r"\text{")


def _mark(match: re.Match[str]) -> str:
    """Upright words, marked as such; upright figures and functions are the same as any other."""
    inner = " ".join(match[1].split())
    if not inner:
        return " "
    if match.group().startswith("\\operatorname") or (inner in _UPRIGHT_SYMBOLS and "\\mathrm" in match.group()):
        return f"\\{inner} " if len(inner) > 1 else f" {inner} "
    if re.search(r"[0-9\\{}=+<>|$^_\[\]]", inner) or not re.search(r"[^\W\d_]|[%°$€£¥¢]", inner):
        return f" {inner} "
    return f" \\WORDS{{{inner}}} "


_MARKS = re.compile(r"\\text\{([^{}]*)\}")


def without_marks(text: str) -> str:
    r"""Undressed text with its upright words written plainly: `\text{no solution}` is "no solution"."""
    return " ".join(_MARKS.sub(r" \1 ", text).split())


def key(text: str) -> str:
    """Undressed text, to compare as text: spaces go unless they part two digits (1 1/2 is not 11/2)."""
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", without_marks(text))
