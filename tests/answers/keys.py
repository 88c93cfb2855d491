"""Skeleton keys: odd answers that must open none of thousands of gold answers."""

# ruff: noqa: E501
# fmt: off
from __future__ import annotations

from random import Random

__all__ = ["draw_golds", "odd_answers"]


def draw_golds(count: int, seed: int = 0) -> list[str]:
    """Gold answers whose numbers are large or irrational, so that no odd answer is theirs by accident."""
    rng = Random(seed)
    golds = []
    while len(golds) < count:
        n, m = rng.randint(10**4, 10**7), rng.randint(10**4, 10**6)
        golds += [
            f"{n}", f"{n}.0", f"{n / 1000:.3f}", rf"\frac{{{n}}}{{{m}}}", rf"{n}\sqrt{{{m}}}", rf"{n}\pi", f"({n}, {m})", f"{n}, {m}", rf"\{{{n}, {m}\}}",
            f"[{n},{n + m})", f"x={n}", f"x<{n}", f"{n}x+{m}", f"{n}x+{m}y={m}", rf"{n} \text{{ dollars}}", f"{n}^\\circ", rf"\frac{{1}}{{{m % 500 + 100}!}}",
            rf"10^{{-{m % 300 + 50}}}", f"{n}_{{8}}".replace("8", "7").replace("9", "6"), f"x^2+{n}=0", f"{n}-{m}={n - m}", rf"\ln {n}", rf"e^{{-{m % 900 + 70}}}", f"{n}i", rf"{n}!",
            rf"(-\infty, {n}) \cup ({n + m}, \infty)", rf"\begin{{pmatrix}}{n}\\{m}\end{{pmatrix}}", f"f({m})={n}", rf"{n}^{{{m}}}", rf"{n} \pm \sqrt{{{m}}}", f"{n}:{m}", rf"\log_{{{n}}} {m}",
            rf"{n}x^{{{m}}}", rf"a_{{{n}}}", rf"\gamma^{{{n}}}-{m}", rf"\frac{{dx}}{{dt}}={n}x", f"R-{n}r", rf"\sin {n}",
            "".join(rng.choice("bcdfghjklmnpqrstvwz") + rng.choice("aeiou") for _ in range(4)),
        ]
    return golds[:count]


def odd_answers() -> list[str]:
    """A thousand and more answers that might open any lock: empty, extreme, malformed, generous or vague."""
    numbers = [
        "0", "1", "-1", "2", "10", "0.5", "i", "e", r"\pi", r"\infty", "10^{-30}", "10^{30}", "1e-300", "1e300",
        "1e9999", "1/0", "0/0", "0^0", "9!", "x", "n", "A", "m",
    ]
    frames = [
        "@", "-@", "(@)", r"\{{@\}}", "[@,@]", "(@,@)", "@,@", "x=@", "@=@", "@=x", "x<@", "x>@", r"x \ne @", r"x \le @", r"\sqrt{@}",
        "|@|", "@!", r"\ln @", r"\frac{@}{@}", "@^{@}", "@-@", r"\pm @", "@°", r"@\%", r"@ \text{ dollars}", r"\text{@}", "@_2", "f(@)", r"\sin @",
        "@x", "@+C", "@:@", r"@ \text{ or } @", r"\{x | x=@\}", r"\overline{@}", "@ or x=@", "@...", r"\lim @", r"\sum @", r"\int @",
    ]
    loose = [
        "", " ", "$$", r"\boxed{}", "{}", "()", "[]", r"\{\}", r"\emptyset", r"\mathbb{R}", r"\mathbb{C}", r"\mathbb{Z}", r"(-\infty,\infty)", r"[-\infty,\infty]", "all real numbers", "no solution", "x=x", "1=1", "0=0", "1=2", "x=x+1",
        "x", "y", "n", "any", "anything", "answer", "the answer", "yes", "no", "true", "correct", "None", "nan", "NaN", "inf", "null", "undefined", "?", "...", r"\ldots", r"\text{}", r"\text{answer}", "*", ".*", "%", "%s", "\\", "\\\\", r"\\", r"\frac", r"\frac{}{}",
        r"\sqrt", r"\sqrt{}", "^", "_", "=", "<", ">", "<>", "+", "-", "/", "|", "||", "{", "}", "(", ")", ",", ",,,", ";", ":", "'", '"', "!", "!!", "°", "$", r"\$", "&", "#", "@", "~", r"\,", r"\!", r"\quad", r"\left(\right)", r"\begin{matrix}\end{matrix}", r"\begin{aligned}\end{aligned}",
        r"\infty", r"-\infty", r"\pm\infty", r"\infty-\infty", r"\frac{\infty}{\infty}", "1^{\\infty}", r"\sin x", r"\frac{d}{dx}", "f", "f(x)", "f(x)=f(x)", r"\forall x", r"\exists x", r"x \in \mathbb{R}", "0 or 1", "A or B or C or D", "ABCD", "A, B, C, D", "(A)(B)(C)(D)", "all of the above", "__", "\x00", "\ud800", "🙂", "無", "一", "x"*50, "9"*400, "0"*400, "1/3"*20,
        "1e400-1e400", "10^{10^{10}}", "10^{-10^{10}}", "0^{-1}", r"\log 0", r"\ln(-1)", r"\tan 90^\circ", r"0 \cdot \infty", "x/x", "x-x", "x^0", "0x", "(x)", r"\gamma", r"\Gamma", r"\delta", "i^2", "1+", "+1", "--1", "1..2", "1.2.3", "1,2,3,4,5,6,7,8,9", "0x10", "1_000", "1e", "e1", "1e1e1", "²", "½", "⅓", "∞", "√", "√√", "π", "≈", "≈0", r"\approx", r"\approx 0", "x≈", "=0", "0=", "==", "a=b=c", "True", "False",
    ]
    keys = [frame.replace("@", number) for frame in frames for number in numbers] + loose
    keys += [f"{left}{right}" for left in loose[:60] for right in ("1", "x")]
    return list(dict.fromkeys(keys))
