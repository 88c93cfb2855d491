r"""Gold answers by the thousand, each with answers that are right and answers that are wrong by construction.

A maker draws its numbers from `random.Random` and returns a `Drawn`. A wrong answer differs in value, in
letter, in bracket, in unit or in order; it is never merely written otherwise.
"""

# ruff: noqa: E501
# fmt: off
from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import NamedTuple

__all__ = ["MAKERS", "Drawn"]


class Drawn(NamedTuple):
    gold: str
    right: list[str]
    wrong: list[str]


_NOUNS = "dollars apples days people students tickets marbles hours pounds years ways books coins teachers boxes"
NOUNS = _NOUNS.split()
UNITS = {
    "cm": ["cm", r"\text{cm}", r"\text{ centimeters}", r"\,\mathrm{cm}"],
    "kg": ["kg", r"\text{ kg}", r"\mathrm{~kg}", r"\text{ kilograms}"],
    "km/h": ["km/h", r"\text{ km/h}", r"\mathrm{~km}/\mathrm{h}", r"\text{ kilometers per hour}"],
    "cm^2": [r"\text{ cm}^2", r"\text{ square centimeters}", "cm²", r"\mathrm{~cm}^{2}"],
    "mph": ["mph", r"\text{ miles per hour}", r"\text{ mi/h}"],
}
CHANGES = [r"\text{ million}", r"\text{ thousand}", r"\text{ or more}", r"\text{ and a half}", "万", r"\text{ dozen}"]
LETTERS = "abcdkmnpqrstuvwxyz"


def near(rng: Random, n: int) -> int:
    """Another whole number: a slip of calculation, of sign or of a digit."""
    others = [n + 1, n - 1, -n, n + 10, n - 10, 10 * n, n // 10, 2 * n, int(str(abs(n))[::-1]), n + 100]
    return rng.choice([other for other in others if other != n])


def grouped(n: int, mark: str) -> str:
    return f"{n:,}".replace(",", mark)


def integer(rng: Random) -> Drawn:
    n = rng.choice([rng.randint(2, 99), rng.randint(100, 10**7), -rng.randint(2, 999)])
    right = [
        f"{n}.0", f"{n}.", f"+{n}" if n > 0 else f"- {-n}", f"${n}$", rf"\({n}\)", rf"\text{{{n}}}", rf"\textcolor{{red}}{{{n}}}",
        rf"\mathbf{{{n}}}", rf"\underline{{{n}}}", grouped(n, ","), grouped(n, r",\!"), grouped(n, "{,}"), grouped(n, r"\,"),
        rf"{n} \text{{ {rng.choice(NOUNS)}}}", f"{n} {rng.choice(NOUNS)}", f"x={n}", rf"\text{{Area}}={n}", f"a+b={n}",
        f"{n - 7}+7={n}", rf"{n} \times 1 = {n}", rf"\frac{{{2 * n}}}{{2}}", rf"|A| = {n}", f"= {n}", rf"\boxed{{{n}}}",
        rf"\begin{{aligned}} y &= {n - 2}+2 \\ &= {n} \end{{aligned}}", rf"2x = {2 * n} \Rightarrow x = {n}",
    ]
    m = near(rng, n)
    wrong = [
        str(m), f"{m}.0", grouped(m, ","), f"{n}_{rng.randint(2, 9)}", f"{n}.04", f"{n}x", f"{n}{rng.choice(LETTERS)}",
        f"{n} {rng.choice(CHANGES)}", f"{n}, {m}", rf"{n} \text{{ or }} {m}",
        f"{n - 7}+7={m}", f"{n - 7}+8={n}", f"x={m}", f"x^2={n}", f"2x={n}", f"x>{n}", rf"x \ne {n}", rf"\{{{n}, {m}\}}", rf"({n}, {m})",
        rf"\sqrt{{{n}}}" if n > 1 else "i", rf"{n}+10^{{-30}}", rf"{n} \pm 1", rf"{n}^{{2}}", "A", r"\emptyset", "0", "1=1",
        f"{n}:{abs(m) + 1}", rf"{n}!" if n > 2 else "7.5",
    ]
    return Drawn(rng.choice([str(n), f"{n}.0", grouped(n, ","), f"${n}$", f"{n}."]), right, wrong)


def quantity(rng: Random) -> Drawn:
    n = rng.randint(2, 900)
    unit = rng.choice(sorted(UNITS))
    other = rng.choice([name for name in UNITS if name != unit])
    gold = rng.choice([f"{n} {spelling}" for spelling in UNITS[unit]])
    right = [
        f"{n}", *(f"{n} {spelling}" for spelling in UNITS[unit]), rf"\frac{{{2 * n}}}{{2}} {UNITS[unit][1]}",
        f"v={n} {UNITS[unit][1]}",
    ]
    wrong = [
        f"{near(rng, n)}", f"{n} {rng.choice(UNITS[other])}", rf"{n} \text{{ {rng.choice(NOUNS)}}}",
        f"{near(rng, n)} {UNITS[unit][1]}",
    ]
    return Drawn(gold, right, wrong)


def noun(rng: Random) -> Drawn:
    n = rng.randint(2, 5000)
    one, other = rng.sample(NOUNS, 2)
    gold = rng.choice([rf"{n} \text{{ {one}}}", f"{n} {one}", rf"{n}\text{{ {one}}}"])
    right = [
        f"{n}", f"{n}.0", f"{n} {one}", rf"{n} \text{{ {one}}}", rf"{n}\mbox{{ {one}}}",
        rf"{n} \textnormal{{ {one}}}", f"{n:,}",
    ]
    wrong = [
        f"{near(rng, n)}", f"{n} {other}", rf"{n} \text{{ {other}}}", rf"{near(rng, n)} \text{{ {one}}}",
        f"{n} million {one}",
    ]
    return Drawn(gold, right, wrong)


def decimal(rng: Random) -> Drawn:
    places = rng.randint(1, 6)
    units = rng.randint(10**places // 3, 30 * 10**places)
    units += units % 10 == 0  # the last digit says something
    value = Fraction(units, 10**places)
    text = f"{float(value):.{places}f}"
    step = Fraction(1, 10 ** min(places, 3))
    off = f"{float(value + rng.choice([-2, -1, 1, 2]) * step):.{min(places, 3)}f}"
    right = [
        text, f"{text}0", rf"\frac{{{value.numerator}}}{{{value.denominator}}}", rf"{units} \times 10^{{-{places}}}",
        f"x={text}", f"{units}e-{places}",
    ]
    if places > 3 and value * 1000 % 1 != Fraction(1, 2):
        right.append(f"{float(value):.3f}")
    wrong = [
        off, f"-{text}", f"{text}1x", f"{units}", rf"{units} \times 10^{{-{places + 1}}}",
        f"{float(value * 10):.{places}f}", f"{float(value) + 1:.{places}f}", r"10^{-30}",
    ]
    return Drawn(text, right, wrong)


def fraction(rng: Random) -> Drawn:
    q = rng.choice([2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 25, 64])
    p = rng.choice([one for one in range(1, 60) if Fraction(one, q).denominator == q])
    value, sign = Fraction(p, q), rng.choice(["", "-"])
    k = rng.randint(2, 5)
    right = [
        rf"{sign}\frac{{{p}}}{{{q}}}", rf"{sign}\dfrac{{{p}}}{{{q}}}", f"{sign}{p}/{q}", rf"{sign}\frac{{{k * p}}}{{{k * q}}}", rf"\frac{{{sign}{p}}}{{{q}}}",
        rf"{sign}{p} \div {q}", rf"{sign}{p} \cdot {q}^{{-1}}", rf"{sign}{p}\cdot{q}^-1",
    ]
    if p < 10 and q < 10:
        right += [rf"{sign}\frac{p}{q}", rf"{sign}\frac{{{p}}}{q}"]
    if p > q:
        right.append(rf"{sign}{p // q}\frac{{{p % q}}}{{{q}}}")
    wrong = [
        rf"{sign}\frac{{{q}}}{{{p}}}", rf"{'' if sign else '-'}\frac{{{p}}}{{{q}}}", rf"{sign}\frac{{{p + 1}}}{{{q}}}", rf"{sign}\frac{{{p}}}{{{q + 1}}}",
        f"{sign}{p}", f"{sign}{p * q}", rf"{sign}\frac{{{p}}}{{{q}}} x", rf"x={sign}\frac{{{p}}}{{{q + 1}}}", rf"\frac{{{p}}}{{{q}x}}", "10^{-30}",
    ]
    if q in (3, 6, 7, 9, 11, 12, 13):
        wrong.append(f"{sign}{float(value):.4f}")
    return Drawn(rng.choice(right[:3]), right, wrong)


def root(rng: Random) -> Drawn:
    a, b = rng.randint(2, 12), rng.choice([2, 3, 5, 6, 7, 10, 11, 13, 26, 30])
    tail, shift = rng.choice([("", ""), (r"\pi", r"\pi"), (" x", "x")])
    gold = rf"{a}\sqrt{{{b}}}{tail}"
    right = [
        gold, rf"\sqrt{{{a * a * b}}}{tail}", f"{a}√{b}{tail}", rf"{a} \cdot \sqrt{{{b}}}{tail}",
        rf"\sqrt{{{b}}} \cdot {a}{tail}", rf"{a}\cdot {b}^{{1/2}}{tail}",
        rf"\frac{{{a * b}{shift}}}{{\sqrt{{{b}}}}}",
    ]
    if b > 9:
        right.append(rf"{a}\sqrt{b}{' ' if tail else ''}{tail}")
    wrong = [
        rf"{a}\sqrt{{{b + 1}}}{tail}", rf"{a + 1}\sqrt{{{b}}}{tail}", rf"{b + 20}\sqrt{{{a}}}{tail}",
        rf"\sqrt{{{a * b + 1000}}}{tail}", f"{a * b}{tail}", f"{a * b**0.5:.3f}", rf"{a}\sqrt[3]{{{b}}}{tail}",
        rf"-{gold}", "0", rf"{a}\sqrt{{{b}}}{tail}+10^{{-40}}", rf"\sqrt{{{a}}}\sqrt{{{b}}}{tail}",
    ]
    return Drawn(gold, right, wrong)


def multiple_of_pi(rng: Random) -> Drawn:
    p, q = rng.randint(1, 11), rng.choice([1, 2, 3, 4, 6])
    value = Fraction(p, q)
    p, q = value.numerator, value.denominator
    degrees = int(180 * value)
    gold = rf"\frac{{{p}\pi}}{{{q}}}" if q > 1 else rf"{p}\pi"
    right = [
        gold, rf"\frac{{{p}}}{{{q}}}\pi", f"{p}π/{q}", rf"\pi \cdot \frac{{{p}}}{{{q}}}", rf"{degrees}^\circ",
        f"{degrees}°", rf"\frac{{{2 * p}\pi}}{{{2 * q}}}", rf"\theta=\frac{{{p}\pi}}{{{q}}}",
    ]
    wrong = [
        rf"\frac{{{p + q}\pi}}{{{q}}}", rf"-{gold}", f"{float(value) * 3.14159265:.3f}", f"{degrees}",
        f"{degrees + 1}°", rf"\frac{{{p}}}{{{q}}}", rf"\frac{{{p}\pi^2}}{{{q}}}", rf"\frac{{{p}\pi}}{{{q + 1}}}",
    ]
    return Drawn(gold, right, wrong)


def pair(rng: Random) -> Drawn:
    a, b = rng.sample(range(-20, 21), 2)
    gold = rng.choice([f"({a},{b})", f"({a}, {b})", rf"\left({a}, {b}\right)", f"(x,y)=({a},{b})"])
    right = [
        f"({a}, {b})", f"(x,y)=({a},{b})", f"x={a}, y={b}", f"y={b}, x={a}", rf"\langle {a},{b}\rangle",
        rf"\begin{{pmatrix}}{a}\\{b}\end{{pmatrix}}", rf"x={a} \text{{ and }} y={b}", f"({a}.0,{b}.0)",
    ]
    wrong = [
        f"({b},{a})", f"(x,y)=({b},{a})", f"x={b}, y={a}", f"({a},{b + 1})", f"({-a or 77},{b})", f"[{a},{b}]",
        rf"\{{{a},{b}\}}", f"({a},{b},0)", f"x={a}", f"({a},{b}]", f"{a}",
        rf"\begin{{pmatrix}}{b}\\{a}\end{{pmatrix}}", rf"({a},{b}+10^{{-30}})",
    ]
    return Drawn(gold, right, wrong)


def listing(rng: Random) -> Drawn:
    a, b = sorted(rng.sample(range(-30, 31), 2))
    gold = rng.choice(
        [f"{a},{b}", f"{b}, {a}", rf"\{{{a},{b}\}}", rf"x={a} \text{{ or }} x={b}", rf"{a} \text{{ and }} {b}"]
    )
    right = [
        f"{b},{a}", rf"x={a} \text{{ or }} x={b}", f"x_1={b}, x_2={a}", rf"\{{{b},{a}\}}", rf"x={a},{b}",
        f"x = {a} or {b}", rf"x \in \{{{a},{b}\}}", f"{a}; {b}",
    ]
    if (a + b) % 2 == 0:
        right.append(rf"{(a + b) // 2} \pm {(b - a) // 2}")
    wrong = [
        f"{a}", f"{b}", f"{a},{b + 100}", f"{a},{a}", f"x={a}", f"{a},{b},99", rf"x={a} \text{{ or }} x={b + 100}",
        rf"{a} \pm {abs(b) + 100}", f"[{a},{b}]", f"{a}<x<{b}", f"{a}={b}", f"x={a}, y={b + 50}",
    ]
    return Drawn(gold, right, wrong)


def interval(rng: Random) -> Drawn:
    a, b = sorted(rng.sample(range(-20, 21), 2))
    left, right_ = rng.choice("(["), rng.choice(")]")
    lower, upper = (r"\le" if left == "[" else "<"), (r"\le" if right_ == "]" else "<")
    gold = rng.choice(
        [
            rf"{left}{a},{b}{right_}", rf"{a} {lower} x {upper} {b}", rf"\{{x | {a} {lower} x {upper} {b}\}}",
            rf"x \in {left}{a},{b}{right_}",
        ]
    )
    geq, leq = {"<": ">", r"\le": r"\ge"}[lower], {"<": ">", r"\le": r"\ge"}[upper]
    right = [
        rf"{left}{a}, {b}{right_}", rf"{a} {lower} x {upper} {b}", rf"\{{x \mid {a} {lower} x {upper} {b}\}}",
        rf"x \in {left}{a},{b}{right_}", rf"{b} {leq} x {geq} {a}", rf"x {geq} {a} \text{{ and }} x {upper} {b}",
    ]
    flip = {"(": "[", "[": "(", ")": "]", "]": ")"}
    wrong = [
        rf"{flip[left]}{a},{b}{right_}", rf"{left}{a},{b}{flip[right_]}", rf"{left}{a},{b + 1}{right_}",
        rf"{left}{a - 1},{b}{right_}", rf"{a} {lower} x", rf"x {upper} {b}", rf"\{{{a},{b}\}}",
        rf"x {lower} {a} \text{{ or }} x {geq} {b}", rf"(-\infty,{b}{right_}", r"\mathbb{R}", r"\emptyset",
        f"{a + 1} < x < {a + 1}",
    ]
    return Drawn(gold, right, wrong)


def union(rng: Random) -> Drawn:
    a, b = sorted(rng.sample(range(-20, 21), 2))
    gold = rng.choice(
        [rf"(-\infty, {a}) \cup ({b}, \infty)", rf"x<{a} \text{{ or }} x>{b}", rf"\{{x | x<{a} \text{{ or }} x>{b}\}}"]
    )
    right = [
        rf"(-\infty,{a})\cup({b},\infty)", rf"({b},\infty) \cup (-\infty,{a})", f"x < {a} or x > {b}",
        rf"x>{b} \text{{ or }} x<{a}", rf"x \in (-\infty,{a}) \cup ({b},+\infty)",
        rf"\mathbb{{R}} \setminus [{a},{b}]", rf"x<{a}, x>{b}",
    ]
    wrong = [
        rf"(-\infty,{a}]\cup({b},\infty)", rf"(-\infty,{a})\cup[{b},\infty)", rf"({a},{b})", f"x<{a}", f"x>{b}",
        rf"x<{a} \text{{ and }} x>{b}", rf"(-\infty,{b})\cup({a},\infty)", rf"(-\infty,{a + 1})\cup({b + 1},\infty)",
        r"\mathbb{R}", rf"x \le {a} \text{{ or }} x \ge {b}", f"{a}<x<{b}",
    ]
    return Drawn(gold, right, wrong)


def polynomial(rng: Random) -> Drawn:
    x, y = rng.sample(LETTERS, 2)
    a, b = rng.randint(2, 9), rng.randint(1, 9)
    gold = f"{a}{x}^2+{b}{y}"
    right = [
        gold, f"{b}{y}+{a}{x}^2", f"{a}{x}^{{2}} + {b}{y}", rf"{a} \cdot {x} \cdot {x} + {y} \cdot {b}",
        f"{a}{x}{x}+{b}{y}", rf"\frac{{{2 * a}{x}^2+{2 * b}{y}}}{{2}}", f"f({x})={a}{x}^2+{b}{y}", f"A={gold}",
    ]
    wrong = [
        f"{a}{x}^2-{b}{y}", f"{a}{x}^3+{b}{y}", f"{a}{y}^2+{b}{x}", f"{a}{x.upper()}^2+{b}{y}", f"{a}{x}^2+{b}",
        f"{a}+{b}", f"{a + 1}{x}^2+{b}{y}", f"{gold}=0", f"{a}{x}^2+{b}{y}+10^{{-30}}", "0", f"{a}{x}_1^2+{b}{y}",
        f"{gold}>0", rf"\frac{{{a}{x}^2+{b}{y}}}{{2}}",
    ]
    return Drawn(gold, right, wrong)


def line(rng: Random) -> Drawn:
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 30)
    gold = rf"{a}x+{b}y={c}"
    right = [
        gold, f"{b}y+{a}x={c}", f"{c}={a}x+{b}y", f"{2 * a}x+{2 * b}y={2 * c}", f"{a}x+{b}y-{c}=0", f"{a}x={c}-{b}y",
    ]
    wrong = [
        f"{a}x+{b}y={c + 1}", f"{a}x-{b}y={c}", f"{a}y+{b + a}x={c}", f"{c}", f"{a}x+{b}y", rf"{a}x+{b}y \le {c}",
        f"{a}u+{b}y={c}", f"{a}X+{b}y={c}", "1=2", "x=1", f"{a}={b}",
    ]
    return Drawn(gold, right, wrong)


def based(rng: Random) -> Drawn:
    base = rng.randint(3, 9)
    digits = "".join(str(rng.randint(1, base - 1)) for _ in range(rng.randint(2, 5)))
    right = [f"{digits}_{base}", f"{digits}_{{{base}}}", rf"{digits}_{{({base})}}", f"{digits}_ {base}"]
    wrong = [
        f"{digits}", f"{digits}_{base + 1}", f"{digits}_{{{base + 10}}}", f"{int(digits, base)}",
        f"{digits}1_{base}", f"{digits[::-1]}9_{base}",
    ]
    return Drawn(f"{digits}_{base}", right, wrong)


def option(rng: Random) -> Drawn:
    one, other, third = rng.sample("ABCDE", 3)
    text = rng.choice(["a right triangle", "30", "I and II only", "None of the above", r"\frac{1}{2}"])
    gold = rng.choice([one, f"({one})"])
    right = [
        one, f"({one})", f"{one}.", f"{one}。", f"（{one}）", f"选{one}", f"{one}. {text}", f"({one}) {text}",
        rf"\text{{{one}}}", rf"\textbf{{({one})}}\ {text}", f"Option {one}", f"{one}: {text}", f"({one.lower()})",
    ]
    wrong = [
        other, f"({other})", f"{other}. {text}", f"({one}) or ({other})", f"{one}, {other}", f"{one}{other}",
        f"{one}. {other}", f"{other}. {one} triangle", f"{one} and {other}", f"({one})({other})", f"not {one}", text,
        f"{one}, {other}, {third}", f"{one}+1",
    ]
    return Drawn(gold, right, wrong)


def several_options(rng: Random) -> Drawn:
    names = sorted(rng.sample("ABCDE", rng.choice([2, 3])))
    others = sorted(set("ABCDE") - set(names))
    gold = rng.choice([", ".join(names), ",".join(names), " and ".join(names)])
    right = ["".join(names), ", ".join(names), ", ".join(reversed(names)), " and ".join(names), ",".join(names)]
    wrong = [
        names[0], names[-1], ", ".join([*names, others[0]]), "".join([*names[:-1], others[0]]),
        ", ".join([names[0], others[0]]), "".join(names + others),
    ]
    return Drawn(gold, right, [one for one in wrong if set(one) & set("ABCDE") != set(names)])


def segment(rng: Random) -> Drawn:
    p, q, r = rng.sample("ABCDEFXYZ", 3)
    gold, right, wrong = rng.choice(
        [
            ( rf"\overline{{{p}{q}}}", [rf"\overline{{{q}{p}}}", rf"\overline{{{p}{q}}}"],
            [rf"\overline{{{p}{r}}}", p, rf"\overline{{{q}{r}}}"], ), ( rf"\angle {p}{q}{r}",
            [rf"\angle {r}{q}{p}", f"∠{p}{q}{r}"],
            [rf"\angle {q}{p}{r}", rf"\angle {p}{r}{q}", rf"\triangle {p}{q}{r}"], ), (
            rf"\overrightarrow{{{p}{q}}}", [rf"\overrightarrow{{{p}{q}}}"],
            [rf"\overrightarrow{{{q}{p}}}", rf"\overline{{{p}{q}}}"], ),
        ]
    )
    return Drawn(gold, right, wrong)


def plus_minus(rng: Random) -> Drawn:
    a, b, c = rng.randint(1, 9), rng.choice([2, 3, 5, 7, 11, 17]), rng.randint(2, 6)
    gold = rng.choice([rf"\frac{{{a} \pm \sqrt{{{b}}}}}{{{c}}}", rf"x=\frac{{{a} \pm \sqrt{{{b}}}}}{{{c}}}"])
    up, down = (rf"\frac{{{a} {sign} \sqrt{{{b}}}}}{{{c}}}" for sign in "+-")
    right = [
        f"{up}, {down}", f"{down}, {up}", rf"{up} \text{{ and }} {down}", rf"x={up} \text{{ or }} x={down}",
        rf"\frac{{{a}}}{{{c}}} \pm \frac{{\sqrt{{{b}}}}}{{{c}}}", rf"\left\{{{up}, {down}\right\}}",
        rf"\frac{{{a} \mp \sqrt{{{b}}}}}{{{c}}}", f"x_1={up}, x_2={down}",
    ]
    wrong = [
        up, down, f"{up}, {up}", rf"\frac{{-{a} \pm \sqrt{{{b}}}}}{{{c}}}",
        rf"\frac{{{a} \pm \sqrt{{{b + 1}}}}}{{{c}}}", rf"\frac{{{a} \pm \sqrt{{{b}}}}}{{{c + 1}}}",
        rf"\frac{{{a} \pm i\sqrt{{{b}}}}}{{{c}}}", f"{up}, 0",
    ]
    return Drawn(gold, right, wrong)


def power_of_ten(rng: Random) -> Drawn:
    mantissa, exponent = rng.randint(101, 999), rng.randint(-40, 30)
    mantissa += mantissa % 10 == 0
    text = f"{mantissa // 100}.{mantissa % 100:02d}"
    gold = rng.choice([rf"{text} \times 10^{{{exponent}}}", f"{text}e{exponent}", rf"{text}*10^{{{exponent}}}"])
    right = [
        rf"{text} \times 10^{{{exponent}}}", rf"{text} \cdot 10^{exponent}", f"{text}e{exponent}",
        rf"{mantissa} \times 10^{{{exponent - 2}}}", f"{text}E{exponent:+03d}",
        rf"\frac{{{mantissa}}}{{100}} \cdot 10^{{{exponent}}}",
    ]
    wrong = [
        rf"{text} \times 10^{{{exponent + 1}}}", rf"{text} \times 10^{{{exponent - 1}}}",
        rf"{text} \times 10^{{{exponent - 20}}}", rf"{(mantissa + 1) / 100:.2f} \times 10^{{{exponent}}}", "0",
        r"10^{-99}", rf"-{text} \times 10^{{{exponent}}}", f"{text}" if exponent else "7",
    ]
    return Drawn(gold, right, wrong)


def repeating(rng: Random) -> Drawn:
    period = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 4)))
    before = "".join(rng.choice("0123456789") for _ in range(rng.randint(0, 2)))
    value = Fraction(int(before or 0), 10 ** len(before)) + Fraction(
        int(period), (10 ** len(period) - 1) * 10 ** len(before)
    )
    gold = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    right = [
        rf"0.{before}\overline{{{period}}}", rf"0.{before}\bar{{{period}}}", rf"0.{before}\overline{{{period * 2}}}",
        rf"0.{before}{period}\overline{{{period}}}",
    ]
    wrong = [
        rf"0.{before}1\overline{{{period}}}", rf"1.{before}\overline{{{period}}}", "0.5",
        rf"-0.{before}\overline{{{period}}}",
    ]
    others = [Fraction(int(before + "1" + period * 9), 10 ** (len(before) + 1 + 9 * len(period))), 1 + value, -value]
    wrong = [
        one for one, other in zip([wrong[0], wrong[1], wrong[3]], others, strict=True)
        if abs(other - value) > Fraction(1, 10**9)
    ]
    return Drawn(gold, right, wrong)


def function_value(rng: Random) -> Drawn:
    name, at, n = rng.choice("fgh"), rng.randint(1, 20), rng.randint(2, 3000)
    gold = f"{name}({at})={n}"
    right = [gold, f"{n}", f"{name}({at}) = {n - 1}+1 = {n}", f"{n}.0"]
    wrong = [
        f"{name}({at + 1})={n}", f"{name}({at})={n + 1}", f"{n + 1}", f"k({at})={n}", f"{name.upper()}({at})={n}",
        f"{name}'({at})={n}", f"{name}(x)={n}x",
    ]
    return Drawn(gold, right, wrong)


def clock(rng: Random) -> Drawn:
    hour, minute = rng.randint(2, 11), rng.choice([m for m in range(10, 59) if m % 2 == 0])
    gold = f"{hour}:{minute}"
    right = [gold, rf"{hour}:{minute} \text{{ p.m.}}", f"{hour}:{minute} AM", rf"\text{{{hour}:{minute}}}"]
    wrong = [
        f"{hour}:{minute + 1}", f"{hour + 1}:{minute}", f"{2 * hour}:{2 * minute}", rf"\frac{{{hour}}}{{{minute}}}",
        f"{hour}", f"{hour * 60 + minute}",
    ]
    if hour % 2 == 0:
        wrong.append(f"{hour // 2}:{minute // 2:02d}")
    return Drawn(gold, right, wrong)


MAKERS: dict[str, Callable[[Random], Drawn]] = {
    maker.__name__: maker
    for maker in (
        integer, quantity, noun, decimal, fraction, root, multiple_of_pi, pair, listing, interval, union, polynomial, line, based,
        option, several_options, segment, plus_minus, power_of_ten, repeating, function_value, clock,
    )
}
