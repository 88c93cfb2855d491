r"""The parser of expressions: LaTeX as models write it, and the plain notation that they fall back to.

Roots and powers without braces take a whole number (`\sqrt16` is 4, `10^-3` is a thousandth), fractions without
braces one digit each, as TeX does (`\frac12`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import replace

from cepo.answers import commands
from cepo.answers.cursor import Cursor
from cepo.answers.figures import decimal_figure
from cepo.answers.repeating import period_seen, repeating_value
from cepo.answers.tokens import Token
from cepo.answers.tree import Group, Node, Part, TooDeep, Unreadable

__all__ = ["NEGATES", "Expressions"]

MAX_DEPTH = 24
NEGATES = re.compile(
    r"\b(?:not|no|least|most|than|never|isn't|neither|nor|minus|negative|half|twice|up to|except|between|over|under)\b",
    re.IGNORECASE,
)
"""Words that turn what they stand by into something else."""
_OPAQUE = frozenset("fghFGHP")
"""Letters that are functions where a bracket follows: f(2x) is not 2f(x)."""


def scalar(part: Part) -> Node:
    if not isinstance(part, Node):
        raise Unreadable("a tuple, a set or a matrix in the middle of an expression")
    return part


class Expressions(Cursor, ABC):
    """Sums, products, powers and what they are made of; brackets with commas are left to `bracketed`."""

    @abstractmethod
    def bracketed(self, opening: str) -> Part:
        """What stands after an opening bracket; the parser of whole answers knows more of it."""

    def sum(self) -> Part:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooDeep
        total = self.product()
        while self.sees("+", "-", "pm", "mp"):
            sign = self.next().text
            term = scalar(self.product())
            signed = term if sign == "+" else Node("neg" if sign == "-" else "pm", (term,), "" if sign == "-" else sign)
            total = scalar(total).joined("add", signed)
        self.depth -= 1
        return total

    def product(self) -> Part:
        """Factors, with `/` and `\\cdot` or with nothing between them."""
        if self.take("+"):
            return self.product()
        if self.take("-"):
            return Node("neg", (scalar(self.product()),))
        if self.sees("pm", "mp"):
            return Node("pm", name=self.next().text, args=(scalar(self.product()),))
        value = self.power()
        while True:
            if self.take("*") or self.take("cdot") or self.take("times"):
                value = scalar(value).joined("mul", scalar(self.signed_power()))
            elif self.sees("/", "div") and not self._starts_a_unit(1):
                self.at += 1
                value = Node("div", (scalar(value), scalar(self.signed_power())))
            elif self.starts_factor():
                value = self._beside(scalar(value))
            else:
                return value

    def signed_power(self) -> Part:
        if self.take("-"):
            return Node("neg", (scalar(self.signed_power()),))
        return self.signed_power() if self.take("+") else self.power()

    def _starts_a_unit(self, ahead: int) -> bool:
        token = self.peek(ahead)
        return token is not None and token.kind == "words"

    def _beside(self, value: Node) -> Node:
        """A factor with no sign before it: 2x, or the fraction of a mixed number."""
        token = self.peek()
        assert token is not None
        number = value.op == "figure" and value.figure is not None and value.figure.decimals == 0
        if token.kind == "number":
            return self._second_number(value, number)
        factor = scalar(self.power())
        mixed = number and token.text == "frac" and all(arg.op == "figure" for arg in factor.args)
        return value.joined("add" if mixed and factor.op == "div" else "mul", factor)

    def _second_number(self, value: Node, whole: bool) -> Node:
        """1 1/2 is a mixed number; any other two numbers side by side are no expression."""
        if value.op in ("factorial", "pow"):
            return Node("mul", (value, self.scalar_power()))  # n! 2^n
        over, slash, under = self.peek(), self.peek(1), self.peek(2)
        if not (whole and over and slash and under and slash.text == "/" and under.kind == "number"):
            raise Unreadable("two numbers side by side")
        self.at += 3
        return Node("add", (value, Node("div", (figure(over.text), figure(under.text)))))

    def starts_factor(self) -> bool:
        token = self.peek()
        if token is None:
            return False
        if token.kind in ("number", "letter"):
            return True
        if token.kind == "mark":
            return token.text in ("(", "{") or (token.text == "|" and self._opens_bar())
        return token.kind == "command" and token.text in commands.STARTS_FACTOR

    def _opens_bar(self) -> bool:
        """Whether a bar after a factor opens an absolute value: only where none is open."""
        return self.open_bars == 0 and any(token.text == "|" for token in self.tokens[self.at + 1 :])

    open_bars = 0

    def power(self) -> Part:
        base = self.atom()
        while True:
            if self.take("^"):
                base = self._raised(scalar(base))
            elif self.sees("!") and not self._is_unequal():
                self.at += 1
                base = Node("factorial", (scalar(base),))
            elif self.take("'"):
                base = self._primed(scalar(base))
            elif self.take("°"):
                base = Node("degrees", (scalar(base),))
            else:
                return base

    def _is_unequal(self) -> bool:
        after = self.peek(1)
        return after is not None and after.text == "="

    def _raised(self, base: Node) -> Node:
        if self.sees("'", "prime"):
            self.at += 1
            return self._primed(base)
        return Node("pow", (base, self.argument()))

    def _primed(self, base: Node) -> Node:
        if base.op not in ("symbol", "opaque"):
            raise Unreadable("a prime on something without a name")
        return replace(base, name=base.name + "'")

    def argument(self) -> Node:
        """An argument with or without braces; without, a number counts as a whole, with its sign."""
        if self.take("{"):
            return self.inside("}")
        if self.take("-"):
            return Node("neg", (self.argument(),))
        return scalar(self.atom())

    def scalar_sum(self) -> Node:
        return scalar(self.sum())

    def scalar_power(self) -> Node:
        return scalar(self.power())

    def inside(self, closing: str) -> Node:
        """A sum and the bracket that closes it."""
        # Braces and brackets shut bars out: in |{x}| the inner text opens bars of its own.
        bars, self.open_bars = self.open_bars, 0
        inner = scalar(self.sum())
        self.open_bars = bars
        self.expect(closing)
        return inner

    def atom(self) -> Part:
        token = self.next()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "letter":
            return self._letter(token.text)
        if token.kind == "command":
            return self._command(token.text)
        if token.kind == "words":
            return self._phrase(token.text)
        return self._mark(token.text)

    def _phrase(self, text: str) -> Node:
        """Words where a value is expected are a name, such as the area in "area = 5"."""
        while (token := self.peek()) is not None and token.kind == "words":
            text += f" {self.next().text}"
        if NEGATES.search(text):
            raise Unreadable(f"the words {text!r}")
        return Node("symbol", name=f'"{text.casefold()}"')

    def _mark(self, text: str) -> Part:
        if text == "{":
            return self.inside("}")
        if text == "|":
            self.open_bars += 1
            inner = scalar(self.sum())
            self.expect("|")
            self.open_bars -= 1
            return Node("abs", (inner,))
        if text in ("(", "[", "\\{", "<"):
            return self.bracketed(text)
        raise Unreadable(f"{text!r} starts no expression")

    def _number(self, token: Token) -> Node:
        value = figure(token.text)
        if self.sees("_"):
            return self._based(token.text)
        if "." in token.text and (repeated := self._repeating(token.text)) is not None:
            return repeated
        return value

    def _based(self, digits: str) -> Node:
        """204_5, whose value in base ten is not what was asked for: a symbol of its own."""
        self.at += 1
        if "." in digits or self.peek() is None:
            raise Unreadable("a number with an index")
        return Node("symbol", name=f"{digits.lstrip('0')} in base {_base_name(self.index())}")

    def index(self) -> str:
        """An index as text: digits, letters and signs without spaces."""
        if not self.take("{"):
            return self.next().text
        pieces, depth = [], 1
        while depth:
            token = self.next()
            depth += (token.text == "{") - (token.text == "}")
            pieces.append(token.text)
        return "".join(pieces[:-1])

    def _repeating(self, digits: str) -> Node | None:
        r"""0.1\overline{6}, 0.\dot{3} and 0.333\ldots as the fractions that they are."""
        if self.take("ldots"):
            return period_seen(digits)
        if not self.sees("overline", "bar", "dot"):
            return None
        period = ""
        while self.take("overline", "bar", "dot"):
            period += self.index()
            if (between := self.peek()) is not None and between.kind == "number":
                period += self.next().text  # the 2 of 0.\dot{1}2\dot{3}
        return repeating_value(digits, period)

    def _letter(self, letter: str) -> Part:
        if letter == "C" and (chosen := self._combinations()) is not None:
            return chosen
        if letter in ("e", "i") and not self.sees("_"):
            return Node("constant", name=letter)
        return self._named(letter)

    def _combinations(self) -> Node | None:
        """C_{10}^3, the combinations of 3 out of 10; None, and nothing read, for any other C."""
        start = self.at
        if self.take("_") and (of := self.index()).isdecimal() and self.take("^") and (out := self.index()).isdecimal():
            return Node("binom", (figure(of), figure(out)))
        self.at = start
        return None

    def _named(self, name: str) -> Part:
        if self.take("_"):
            name = f"{name}_{self.index()}"
        while self.take("'"):
            name += "'"
        if name in _OPAQUE and [token.text for token in self.tokens[self.at : self.at + 6]] == [*"^{-1}("]:
            self.at += 5
            name += "^{-1}"
        if self.sees("(") and name[0].isupper() and isinstance(point := self._point(), Group):
            return replace(point, name=name)
        if self.sees("(") and name[0] in _OPAQUE:
            return self._opaque(name)
        return Node("symbol", name=name)

    def _point(self) -> Part | None:
        """The coordinates of A(1, 2); None, and nothing read, where the bracket holds no list."""
        start = self.at
        self.at += 1
        part = self.bracketed("(")
        if isinstance(part, Node):
            self.at = start
            return None
        return part

    def _opaque(self, name: str) -> Node:
        self.at += 1
        args = [scalar(self.sum())]
        while self.take(","):
            args.append(scalar(self.sum()))
        self.expect(")")
        return Node("opaque", tuple(args), name)

    def _command(self, name: str) -> Part:
        return commands.read(self, name)


def figure(text: str) -> Node:
    found = decimal_figure(text)
    if found is None:
        raise Unreadable(f"{text!r} is no number")
    return Node("figure", figure=found)


def _base_name(text: str) -> str:
    words = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
    text = text.strip("()").lower()
    return words.get(text, text)
