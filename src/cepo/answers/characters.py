r"""One spelling for each character: full-width forms, look-alikes and mathematical signs become ASCII or LaTeX.

>>> plain_characters("（Ｂ）。"), plain_characters("√2 ≤ x²")
('(B).', '\\sqrt 2 \\le  x^2')
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["plain_characters"]

_COMMANDS = {
    "×": "times",
    "·": "cdot",
    "⋅": "cdot",
    "∗": "cdot",
    "√": "sqrt",
    "π": "pi",
    "∞": "infty",
    "≤": "le",
    "⩽": "le",
    "≥": "ge",
    "⩾": "ge",
    "≈": "approx",
    "≠": "ne",
    "±": "pm",
    "∓": "mp",
    "∠": "angle",
    "△": "triangle",
    "∆": "Delta",
    "∪": "cup",
    "∩": "cap",
    "∈": "in",
    "∅": "emptyset",
    "ø": "emptyset",
    "ℝ": "mathbb{R}",
    "ℤ": "mathbb{Z}",
    "ℕ": "mathbb{N}",
    "ℚ": "mathbb{Q}",
    "ℂ": "mathbb{C}",
    "∥": "parallel",
    "⊥": "perp",
    "≅": "cong",
    "∼": "sim",
    "→": "to",
    "⟨": "langle",
    "⟩": "rangle",
    "∣": "mid",
    "…": "ldots",
    **{
        chr(code): unicodedata.name(chr(code)).rpartition(" ")[2].lower().replace("lamda", "lambda")
        for code in range(0x3B1, 0x3CA)
        if code not in (0x3BF, 0x3C0, 0x3C2)  # omicron is an o; pi is above; final sigma is a sigma
    },
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Ξ": "Xi",
    "Π": "Pi",
    "Σ": "Sigma",
    "Φ": "Phi",
    "Ψ": "Psi",
    "Ω": "Omega",
}
_PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "º": "°",
    "˚": "°",
    "℃": "°C",
    "℉": "°F",
    "’": "'",
    "′": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "。": ".",
    "、": ", ",
    "或": " or ",
    "和": " and ",
    "且": " and ",
    "【": "(",
    "】": ")",
    "〈": "<",
    "〉": ">",
    "\u200b": "",
}
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
_RAISED = re.compile(f"[{_SUPERSCRIPTS}]+")
_LOWERED = re.compile(f"[{_SUBSCRIPTS}]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_TABLE = str.maketrans(_PLAIN | {sign: f"\\{name} " for sign, name in _COMMANDS.items()})


def _script(mark: str, digits: str) -> str:
    plain = unicodedata.normalize("NFKC", digits).replace("−", "-")
    return f"{mark}{plain}" if len(plain) == 1 else f"{mark}{{{plain}}}"


def _vulgar(match: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", match.group()).partition("⁄")
    return rf"\frac{{{over}}}{{{under}}}"


def _one(character: str) -> str:
    """Full-width forms, mathematical alphabets and odd spaces; nothing for invisible characters."""
    kind = unicodedata.category(character)
    if kind == "Cf":
        return ""  # zero-width joiners, marks of direction, byte-order marks
    if kind == "Zs":
        return " "
    if "\uff01" <= character <= "\uff5e" or "\U0001d400" <= character <= "\U0001d7ff":
        return unicodedata.normalize("NFKC", character)
    return character


def plain_characters(text: str) -> str:
    """The same text in ASCII and LaTeX commands, as far as its characters have such a spelling."""
    if text.isascii():
        return text
    text = _VULGAR.sub(_vulgar, text)
    text = _RAISED.sub(lambda match: _script("^", match.group()), text)
    text = _LOWERED.sub(lambda match: _script("_", match.group()), text)
    return "".join(map(_one, text)).translate(_TABLE)
