r"""The parser of whole answers: quantities with units, lists, tuples, sets, intervals, relations.

>>> read_answer("x = 2, 3").items[1].node.figure.value
Fraction(3, 1)
"""

from __future__ import annotations

import re
from dataclasses import replace

from cepo.answers.expressions import NEGATES, Expressions
from cepo.answers.letters import with_spaced_units, with_speeds
from cepo.answers.tokens import Token, join_thousands, tokenize
from cepo.answers.tree import Group, Matrix, Node, Part, Quantity, Reading, Relation, TooDeep, Unreadable
from cepo.answers.units import Unit, is_noun_phrase, read_unit

__all__ = ["read_answer"]

_OPS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~", "in": "in"}
_SET_OPS = {"cup": "cup", "cap": "cap", "setminus": "minus", "backslash": "minus"}
_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}",), "<": (">",), "langle": ("rangle",)}
_CURRENCIES = ("\\$", "$", "€", "£", "¥", "₹")
_MULTIPLIERS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LEADS = re.compile(
    r".*\b(?:is|are|equals|have|get|has|gives)[.:]?"
    r"|(?:(?:the|a|an|so|thus|hence|therefore|final|correct|total|our|its|with)\s+)*"
    r"(?:answer|approximately|approx|about|around|roughly|area|volume|sum|total|total of|length|probability|perimeter"
    r"|value|result|solutions?|points?|vertex|vertices|thus|so|hence|therefore|cost|price|distance|time|speed)[.:]?"
    r"|(?:(?:the|its|our|total|required|remaining)\s+)*(?:(?:minimum|maximum|smallest|largest|greatest|expected|average)\s+"
    r"(?:possible\s+)?(?:value|number|angle|sum|product|area|volume|length|height|distance)"
    r"|slope|radius|diameter|height|width|depth|weight|mass|angle|remainder|quotient|product|difference|profit)[.:]?"
    r"|答案|答|约|大约|共",
    re.IGNORECASE | re.DOTALL,
)
_ARROWS = re.compile(r"\\(?:Rightarrow|implies|iff|Longrightarrow|Leftrightarrow|therefore)(?![A-Za-z])|=>")


def read_answer(text: str, *, letters_are_units: bool = False, thousands: bool = True) -> Reading:
    r"""What an undressed answer says.

    `letters_are_units` reads the m of "5 m" as metres, not as a variable; `thousands` reads 1,234 as one number.

    Raises:
        Unreadable: the text is not in the language that this parser knows.
        TooDeep: it is nested too deeply for any answer.
    """
    text = _ARROWS.split(text)[-1]
    tokens = tokenize(join_thousands(text) if thousands else text)
    if not tokens:
        raise Unreadable("nothing to read")
    tokens = with_speeds(tokens)
    parser = _Answers(with_spaced_units(tokens) if letters_are_units else tokens)
    try:
        reading = parser.listing()
    except RecursionError:
        raise TooDeep from None
    if parser.peek() is not None:
        raise Unreadable(f"{parser.peek()} after the answer")
    return reading


class _Answers(Expressions):
    angles = 0
    """How many brackets made of < and > are open: in them > is no relation."""

    def listing(self) -> Reading:
        """Answers parted by commas, "or" or "and"; one alone is itself."""
        items, conjunction = [self.clause()], ""
        while joint := self._joint():
            conjunction = joint if conjunction in ("", ",") else conjunction
            if self.peek() is None:
                break
            items.append(self.clause())
        if not conjunction:
            return items[0]
        return Group("", "", tuple(items), conjunction)

    def _joint(self) -> str | None:
        joint = None
        while (token := self.peek()) is not None:
            if token.kind == "separator":
                joint = token.text
            elif token.kind == "command" and token.text in ("lor", "vee", "land", "wedge"):
                joint = "or" if token.text in ("lor", "vee") else "and"
            elif token.kind == "mark" and token.text in ",;":
                joint = joint or ","
            else:
                break
            self.at += 1
        return joint

    def clause(self) -> Reading:
        """Sides with relations between them."""
        sides, ops = [self.union()], []
        while (op := self._relation()) is not None:
            ops.append(op)
            sides.append(self.union())
        return Relation(tuple(sides), tuple(ops)) if ops else sides[0]

    def _relation(self) -> str | None:
        token = self.peek()
        if token is None or token.kind not in ("mark", "command") or token.text not in _OPS:
            return None
        if token.text == ">" and self.angles:
            return None
        self.at += 1
        if token.text in "<>" and self.take("="):
            return _OPS[token.text] + "="
        return _OPS[token.text]

    def union(self) -> Reading:
        sides, ops = [self.side()], []
        while self.sees(*_SET_OPS):
            ops.append(_SET_OPS[self.next().text])
            sides.append(self.side())
        return Relation(tuple(sides), tuple(ops)) if ops else sides[0]

    def side(self) -> Reading:
        """A quantity with what leads up to it and its unit; or a tuple, a set or a matrix."""
        self._skip_lead()
        currency = self._currency()
        part = self.sum()
        if self.sees(":") and isinstance(part, Node) and not self._after_words():
            part = self._ratio(part)
        if isinstance(part, Matrix):
            return part
        if isinstance(part, Group):
            return self._with_unit_for_all(part)
        return self._with_unit(part, currency)

    def _after_words(self) -> bool:
        return self.at > 0 and self.tokens[self.at - 1].kind == "words"

    def _ratio(self, first: Node) -> Node:
        terms = [first]
        while self.take(":"):
            term = self.sum()
            if not isinstance(term, Node):
                raise Unreadable("a ratio of something that is no number")
            terms.append(term)
        return Node("ratio", tuple(terms))

    def _skip_lead(self) -> None:
        """ "The answer is" before a number; words that change it are left to stop the parser."""
        words: list[str] = []
        start = self.at
        while (token := self.peek()) is not None and token.kind == "words":
            words.append(token.text)
            self.at += 1
        self.take(":")
        phrase = " ".join(words)
        last = self.peek() is None or self.sees(*_OPS) or self.peek().kind == "separator"  # type: ignore[union-attr]
        if not words or last or not _LEADS.fullmatch(phrase) or NEGATES.search(phrase):
            self.at = start

    def _currency(self) -> str | None:
        negative = self.sees("-") and (after := self.peek(1)) is not None and after.text in _CURRENCIES
        place = self.at + (1 if negative else 0)
        if place >= len(self.tokens) or self.tokens[place].text not in _CURRENCIES:
            return None
        return self.tokens.pop(place).text.strip("\\")

    def _with_unit(self, node: Node, currency: str | None) -> Quantity:
        text, node = self._unit_text(node)
        bare, degrees = _without_degrees(node)
        if degrees:
            text, node = f"° {text}".strip(), bare
        if currency and not text.startswith(currency):
            text = f"{currency} {text}".strip()
        unit = read_unit(text) if text else None
        if text and unit is None:
            raise Unreadable(f"{text!r} is no unit")
        if unit == Unit():
            unit = None  # "18 in all" says nothing of what
        return Quantity(node, unit)

    def _with_unit_for_all(self, group: Group) -> Group:
        """(3, 4) cm is (3 cm, 4 cm)."""
        found = self._with_unit(Node.number(0), None)
        if found.node != Node.number(0):
            raise Unreadable("a word that changes a number, after several")
        if (unit := found.unit) is None:
            return group
        items = [
            replace(item, unit=unit) if isinstance(item, Quantity) and not item.unit else item for item in group.items
        ]
        return replace(group, items=tuple(items))

    def _unit_text(self, node: Node) -> tuple[str, Node]:
        """The unit after `node` as text, and `node` times a million where that is what the first word says."""
        pieces: list[str] = []
        while (token := self.peek()) is not None and self._is_unit_part(token, bool(pieces)):
            self.at += 1
            if token.kind == "words" and not pieces and token.text.lower().split()[0] in _MULTIPLIERS:
                first, _, rest = token.text.partition(" ")
                node = Node("mul", (node, Node.number(10 ** _MULTIPLIERS[first.lower()])))
                token = token._replace(text=rest)
                if not rest:
                    continue
            if token.kind == "words" and not is_noun_phrase(token.text) and read_unit(token.text) is None:
                raise Unreadable(f"the words {token.text!r}")
            if token.kind == "words" and token.text not in ("°C", "°F", "%", "°") and not is_noun_phrase(token.text):
                raise Unreadable(f"the words {token.text!r} change the number")
            pieces.append(_DOTS.get(token.text, token.text))
        return " ".join(pieces).replace("/ per", "/"), node

    def _is_unit_part(self, token: Token, started: bool) -> bool:
        if token.kind == "words" or token.text in ("%", "€", "£", "¥", "₹", "¢", "\\$"):
            return True
        after = self.peek(1)
        if token.text in ("/", "cdot", "times"):
            return after is not None and after.kind == "words"
        if token.text == "." and started:
            return True
        if not started:
            return False
        before = self.tokens[self.at - 1]
        return token.text in ("^", "{", "}", "-") or (token.kind == "number" and before.text in ("^", "{", "-"))

    def bracketed(self, opening: str) -> Part:
        if opening == "\\{" and (built := self._set_builder()) is not None:
            return built
        if opening == "\\{" and self.take("\\}"):
            return Group("{", "}", ())
        bars, self.open_bars = self.open_bars, 0
        self.angles += opening == "<"
        inside = self.listing()
        self.angles -= opening == "<"
        self.open_bars = bars
        return self._close(opening, self.next().text, inside)

    def _close(self, opening: str, closing: str, inside: Reading) -> Part:
        if closing not in _CLOSING[opening]:
            raise Unreadable(f"{opening!r} is closed by {closing!r}")
        many = isinstance(inside, Group) and not inside.open and not inside.name
        if not many and opening in "([":
            if isinstance(inside, Quantity) and (inside.unit is None or inside.unit.powers == {"°": 1}):
                return inside.node if inside.unit is None else Node("degrees", (inside.node,))
            if isinstance(inside, Matrix) or (isinstance(inside, Group) and closing == ")"):
                return inside
            raise Unreadable("a relation or a unit in brackets")
        left = {"<": "(", "langle": "(", "\\{": "{"}.get(opening, opening)
        right = {">": ")", "rangle": ")", "\\}": "}"}.get(closing, closing)
        return Group(left, right, inside.items if isinstance(inside, Group) and many else (inside,))

    def _set_builder(self) -> Group | None:
        """`\\{x | -2 < x < 3\\}` as the set of its conditions; None where no bar or colon follows a variable."""
        start = self.at
        variable = self.peek()
        if variable is None or variable.kind != "letter":
            return None
        self.at += 1
        over_reals = not self.take("in") or self.sum() == Node("symbol", name="mathbb R")
        if not over_reals or not self.take("|", "mid", ":", "\\|"):
            self.at = start
            return None
        conditions = self.listing()
        self.expect("\\}")
        items = conditions.items if isinstance(conditions, Group) and not conditions.open else (conditions,)
        conjunction = conditions.conjunction if isinstance(conditions, Group) else ","
        return Group("{|", "}", items, conjunction, name=variable.text)


_DOTS = {"cdot": "\\cdot", "times": "\\cdot", "\\$": "$"}


def _without_degrees(node: Node) -> tuple[Node, bool]:
    """The node with the degree signs of its terms taken off: 180° - x is (180 - x) degrees."""
    if node.op == "degrees":
        return node.args[0], True
    if node.op not in ("add", "neg", "pm"):
        return node, False
    args, found = zip(*map(_without_degrees, node.args), strict=True)
    return Node(node.op, args, node.name), any(found)
