r"""Answers both ways, by kind: the cases of the rules, written for this repository.

A row is gold, answers that are right, answers that are wrong, parted by " | " and " || ".
"""

from __future__ import annotations

__all__ = ["KINDS", "rows"]

KINDS: dict[str, str] = {
    "base": r"""
204_5 | 204_{5} | 204_{(5)} | 204_{\text{five}} || 204_7 | 204 | 54 | 205_5 | 204_{50} | 402_5
64 || 64_5 | 64_{10} | 64_{7} | 100_{8}
1011_2 | 1011_{2} | 1011_{\text{two}} || 1011_3 | 1011 | 11 | 1101_2
5 || 5_2 | 5_9 | 12_3
1A_{16} | 1A_{16} || 1A_{12} | 1B_{16}
""",
    "whole number as a float": r"""
27.0 | 27 | 27.0 | 27.00 | \frac{54}{2} || 27.04 | 26.96 | 27.01 | 27.4 | 27.001
100.0 | 100 || 100.04 | 99.96 | 99.99
3.0 | 3 || 3.04 | 2.96 | \pi
-8.00 | -8 || -8.004 | 8 | -7.996
1000.0 | 1,000 | 1000 || 1000.04 | 1000.4
12.000 | 12 || 12.0004
9.42 | 3\pi | 9.4248 | 9.42 || 9.43 | 9.4 | 9 | 9.426
27.5 | 27.5 | \frac{55}{2} | 27.50 || 27 | 28 | 27.6 | 27.4
""",
    "huge and tiny numbers": r"""
\frac{1}{2004!} | \frac{1}{2004!} || 10^{-30} | 0 | \frac{1}{2003!} | 10^{-99} | \frac{2}{2004!}
\frac{3^{1008}-1}{3^{1009}} || 10^{-30} | \frac13 | 0 | \frac{3^{1008}}{3^{1009}} | \frac{3^{1008}+1}{3^{1009}}
6.626 \times 10^{-34} | 6.626e-34 | 0.6626 \times 10^{-33} || 9.11 \times 10^{-31} | 6.626 \times 10^{-33} | 0 | 10^{-34}
10^{100} | 10^{99} \cdot 10 | 1e100 || 10^{99} | 10^{100}+1 | 0 | 10^{1000}
2^{100} | 1267650600228229401496703205376 | 4^{50} || 1267650600228229401496703205377 | 2^{101} | 10^{30}
\left(\frac12\right)^{60} | 2^{-60} || 2^{-61} | 0 | 10^{-18}
\sqrt{2}+10^{-50} || \sqrt{2} | 1.414
1-10^{-40} | 1-10^{-40} || 1 | 0.9999999 | 1+10^{-40}
e^{-100} | \frac{1}{e^{100}} || 0 | e^{-101} | 10^{-44} | 10^{-30}
100! | 100! | 100 \cdot 99! || 99! | 10^{158} | 101! | 0
\frac{\sqrt{3}}{10^{25}} || 0 | \frac{\sqrt{2}}{10^{25}} | 10^{-25}
\binom{2000}{1000} || \binom{2000}{999} | 2^{2000} | 0
\frac{\pi}{10^{20}} || 10^{-30} | 0
x^{-30} || 0 | x^{-31} | 10^{-30}
3.5 \times 10^{-20} | 35 \times 10^{-21} || 3.6 \times 10^{-20} | 0 | 3.5 \times 10^{-21}
""",
    "case of letters": r"""
R-r | R-r | -r+R || r-R | 0 | R-R | r-r
\frac{R}{r} | R/r || 1 | \frac{r}{R} | \frac{R}{R}
\lambda | \lambda | λ || \Lambda
\Omega || \omega | \Theta
x^2+C | x^2+C || x^2+c | X^2+C | x^2
\frac{M}{m+M} | \frac{M}{M+m} || \frac12 | \frac{m}{m+M} | \frac{m}{M+m}
N || n | M
v_0 || V_0 | v | v_1
aA | Aa || a^2 | A^2 | aa
\frac{V-v}{T} || 0 | \frac{v-V}{T}
x+X || 2x | 2X
\phi || \Phi
k_B T | T k_B || k_b T | K_B T
R || r
""",
    "equations without solution or variable": r"""
63 - 2 = 61 | 63-2=61 | 61 || 1=2 | 63-2=60 | 1=1 | 2+2=4 | 62
0.56 = 56\% | 0.56=56\% | 0.56 | 56\% || 0.56 = 50\% | 0.5=50\% | 1=2 | 50\%
x^2=-1 | x^2+1=0 | -1=x^2 || x^2=-2 | x^2=1 | y^2=-1 | 1=2
x^2+4=0 || x^2+5=0 | x^2-4=0 | x^4+4=0
1=2 || 3=4 | 5=6 | 2=2
e^x=0 || e^x=-1 | 2^x=0
|x|=-3 || |x|=-4 | x=-3
7=7 || 8=8 | 1=2
\sqrt{x}=-1 || \sqrt{x}=-2 | x=1
3 \cdot 4=12 | 12 | 3 \cdot 4=12 || 3 \cdot 4=13 | 13 | 1=2
x=x+1 || x=x+2 | 0=1 | y=y+1
""",
    "variable after a space": r"""
-3 m | -3m | -3 m || -3 | 3 m | -3 n | -3 M
4 s | 4s || 4 | 4 t
2 h | h \cdot 2 || 2 | 2 H
5 g || 5 | 5 G
10 N || 10 | 10 n
12 t || 12
\frac{1}{2} m || \frac12
7 l || 7
8 k || 8
5x m | 5xm || 5x
6 d || 6
3 r || 3
2 V || 2
9 A || 9
""",
    "gamma and other letters": r"""
\gamma^{2}-1 | -1+\gamma^2 || \gamma^{2}-8 | \gamma^2+1 | \gamma^3-1
\gamma^2 || \gamma^3 | \gamma
\beta^{2}+\alpha || \beta^3+\alpha | \alpha^2+\beta
\zeta^2 || \zeta^3
\Gamma^2 || \Gamma
\psi^2-1 || \psi^2-2
\pi r^2 | r^2\pi || \pi r | \pi r^3
e^2 || e | e^3
i\theta | \theta i || \theta
\delta^{3}+2 || \delta^{3}+5
\sigma^2 || \sigma
""",
    "derivatives and functions": r"""
\frac{d x}{d t}=k x-a | \frac{dx}{dt}=kx-a | \frac{dx}{dt}=-a+kx || \frac{d t}{d x}=k x-a | \frac{dx}{dt}=kx+a | \frac{x}{t}=kx-a
\frac{dy}{dx}=2x || \frac{dx}{dy}=2x | \frac{y}{x}=2x | \frac{dy}{dx}=3x
y'=2y || y''=2y | y=2y
f(5)=2677 | f(5)=2677 | 2677 || f(1)=2677 | f(5)=2678 | g(5)=2677 | 2678
f(2x) | f(x+x) || 2f(x) | f(x) | f(x^2) | xf(2)
P(3)=7 | 7 || P(2)=7 | P(3)=8
f'(x)=2x | 2x || f(x)=2x | f''(x)=2x
f(1)+f(2) | f(2)+f(1) || f(3) | f(1)+f(3) | 2f(1)
a_5=11 | 11 || a_6=11 | a_5=12
f(x)=x^2+1 | x^2+1 | f(x)=1+x^2 || g(x)=x^2+1 | f(x)=x^2
\frac{\partial f}{\partial x} || \frac{\partial f}{\partial y}
S_{10}=55 | 55 || S_{11}=55 | 56
f^{-1}(x)=\frac{x-1}{2} | \frac{x-1}{2} || f(x)=\frac{x-1}{2} | \frac{x+1}{2}
""",
    "times of day": r"""
12:30 | 12:30 || 6:15 | 24:60 | 0.4 | 12:31 | 2:5
3:15 | 3:15 | 3:15 \text{ p.m.} || 1:05 | 6:30 | 0.2
10:45 || 2:09 | 21:90 | 10:46
7:20 \text{ PM} | 7:20 | 7:20 pm || 7:20 AM | 19:20 | 7:21
3:4 | 6:8 | 3/4 | 3:4 || 4:3 | 3:5 | 3
1:2:3 | 2:4:6 || 1:3:2 | 1:2 | 6
12:05 || 12:5 | 24:10
""",
    "roots without braces": r"""
6 | \sqrt{36} || √16 | \sqrt16
4 | √16 | \sqrt16 | \sqrt 16 || √17 | 6
0 || √70 | √10
\sqrt{26} | √26 | \sqrt26 | 26^{1/2} || √2 \cdot 6 | √27 | 26
4\sqrt{13} | 4√13 | \sqrt{208} || 4√1 \cdot 3 | 12 | 13√4
10\sqrt{3} | 10√3 | √300 || 10√30
\frac{\sqrt{10}}{2} | √10/2 | \frac{√10}{2} || √1 \cdot 0/2
\sqrt{125} | 5√5 | √125 || 25
\sqrt{a} | \sqrt a | √a || a
\sqrt{2}x | \sqrt2x | x√2 || \sqrt{2x}
12 | √144 || √14 \cdot 4 | √122
""",
    "units and nouns": r"""
18 | 18 \text{ dollars} | 18 \text{ apples} | 18 \text{ days} | 18 \text{ people} | 18 \text{ miles per hour} | 18 \text{ N} | 18 \text{ J} | 18\text{ pounds} | 18 元 | 18 dollars | 18 apples | \$18 | 18 \text{ square feet} | 18 \mathrm{~kg} | 18 cm^2 | 18 个 | €18 | 18 \text{ ways} | 18\text{ students} | 18 \text{ cubic meters} | 18\%  | 18 \text{ units} | 18 \text{ hours} | 18 km/h | 18 m/s | 18 J || 18 \text{ million} | 18 \text{ or } 19 | 18 \text{ thousand} | 18 \text{ and a half} | \text{at least } 18 | 18 \text{ hundred} | 18万 | 19 \text{ dollars} | 18x | 18 xyz | 18ab | 18 \text{ over } 5 | 18 \text{ times } 3 | \text{not } 18 | 18 \text{ squared} | 18 dozen | 18 \text{ choose } 2 | \text{minus } 18 | 18 \text{ or more} | 18亿 | 18 \text{ hundredths} | 18 \text{ thirds} | 18 \text{ mod } 5 | 18 \text{ base } 9 | 1.8 \text{ dollars} | 18 \pi \text{ cm}
7 \text{ days} | 7 | 7 days | 7\text{ day} || 7 \text{ hours} | 8 | 8 \text{ days} | 7 \text{ weeks} | 7 \text{ apples}
81\text{ teachers} | 81 | 81 teachers || 18 | 81 \text{ students} | 81 \text{ cm}
5 \text{ cm} | 5 | 5cm | 5 centimeters | 5\,\mathrm{cm} || 5 \text{ m} | 5 mm | 5 cm^2 | 5 \text{ apples} | 5 in
25 \text{ cm}^2 | 25 | 25 square centimeters | 25 cm² | 25 sq cm | 25 \text{ square units} || 25 cm | 25 \text{ cm}^3 | 25 m^2 | 25 \text{ units}
60 \text{ miles per hour} | 60 mph | 60 | 60 \text{ miles/hour} | 60 mi/h || 60 km/h | 60 miles | 60 \text{ hours per mile}
9.8 \text{ m/s}^2 | 9.8 | 9.8 m/s^2 || 9.8 \text{ m/s} | 98
\$12 | 12 | 12 \text{ dollars} | \$12.00 || 12 \text{ cents} | €12 | \$12.50 | \$1.2
3 \text{ bags of rice} | 3 | 3 \text{ bags} || 3 \text{ boxes} | 3 \text{ grains}
2 \text{ million} | 2000000 | 2,000,000 | 2 \times 10^6 || 2 | 2000 | 2 \text{ billion}
50\% | 50 | 50 \text{ percent} || 0.5 | 5\% | 50 \text{ cm}
15 \text{ ft} | 15 feet | 15 || 15 m | 15 inches
\frac{1}{2} \text{ hour} | \frac12 | 0.5 hours || \frac12 \text{ minute} | 2 hours
100 \text{ kPa} | 100 || 100 \text{ Pa} | 100 \text{ N}
3 \text{ dollars per hour} | 3 || 3 \text{ dollars per day} | 3 \text{ hours}
""",
    "computations": r"""
64 | 61+3=64 | 2^6=64 | 60+4=64 | 8 \cdot 8 = 64 | 4 \times 16=64 || 61+3=65 | 61+4=64 | 64=65 | 61+3 = 63 | 1=64 | 64+1
5 | \sqrt{3^2+4^2}=5 | \sqrt{25}=5 | 2+3=5 || \sqrt{3^2+4^2}=7 | \sqrt{26}=5 | 3^2+4^2=25
18 | |A|=18 | a+b=18 | \text{Area}=18 | A = 6 \cdot 3 = 18 | m+n=18 | xy=18 | \frac{36}{2}=18 || |A|=19 | a+b=19 | A = 6 \cdot 3 = 19 | x^2=18 | 2x=18 | x+1=18 | a+b>18 | 18=x+1
72 | 8 \times 9 = 72 | 72=8 \times 9 || 8 \times 9 = 73 | 7 \times 9 = 72
\frac{1}{3} | \frac{2}{6}=\frac13 | P=\frac{1}{3} | \frac13 \approx 0.333 | P(A)=\frac{2}{6}=\frac{1}{3} || \frac{2}{6}=\frac12 | \frac{1}{2}=\frac13 | 0.333
\frac{3}{5} | \sin A=\frac35 | \cos\theta = \frac{3}{5} || \sin A=\frac45
12\pi | V=\pi \cdot 2^2 \cdot 3=12\pi || V=12 | \pi \cdot 2^2 \cdot 3 = 13\pi
2x+1 | y=2x+1 | f(x)=2x+1 || y=2x | 2x+1=0 | y>2x+1
x^2+2x+1 | (x+1)^2=x^2+2x+1 | y=(x+1)^2 = x^2+2x+1 || (x+1)^2=x^2+1 | x^2+2x+1=0
9 || x^2=9 | |x|=9 | 3x=9 | x-1=9
""",
    "labels": r"""
(8,-2) | (x,y) = (8,-2) | (x, y)=(8, -2) | x=8, y=-2 | P=(8,-2) | P(8,-2) | y=-2, x=8 | x = 8 \text{ and } y = -2 || (x,y)=(-2,8) | (y,x)=(8,-2) | x=-2, y=8 | (x,y)=(8,2) | (-2,8) | (8,-2,0)
(1,2) | x=1, y=2 | a=1, b=2 | (x,y)=(1,2) | A(1,2) | \langle 1,2 \rangle | (a,b)=(1,2) || x=2, y=1 | x=1, y=3 | A(2,1) | x=1 | [1,2]
3,4 | p=3, q=4 | 4,3 | p=4, q=3 | x=3,4 | 3 \text{ and } 4 | \{3,4\} | x=3 \text{ or } x=4 || p=3, q=5 | 3 | 4 | 3,4,5 | 34 | 3,3
2,3 | x = 2 \text{ or } x = 3 | x_1=2, x_2=3 | x=2, 3 | x=2 \text{ or } 3 | x=3, x=2 | x \in \{2,3\} | 2 \text{ or } 3 | x_1=3, x_2=2 || x=2 | x=2 \text{ or } x=4 | x_1=2, x_2=2 | x=2, y=4 | 2<3 | 2=3
x=2,y=3 | (2,3) | y=3, x=2 | 2,3 || x=3,y=2 | (3,2) | 3,2 | x=2,y=4 | a=2,b=3 | x=2
x=5 | 5 | x=5 | 5=x || x=6 | y=5 | 6 | 2x=10 | x^2=25 | x>5
(1,2,3) | (x,y,z)=(1,2,3) | x=1, y=2, z=3 || (x,y,z)=(1,3,2) | (1,2) | x=1,y=2
A=(0,1) | (0,1) | A(0,1) || B=(0,1) | (1,0)
(1,2),(3,4) | (3,4),(1,2) | \{(1,2),(3,4)\} | (x,y)=(1,2),(3,4) | (1,2) \text{ and } (3,4) || (1,2) | (2,1),(3,4) | (1,2),(4,3) | (1,2,3,4)
a=1, b=2, c=3 | c=3,b=2,a=1 | (1,2,3) || a=1,b=3,c=2 | a=1,b=2
""",
    "thousands": r"""
11,\! 111,\! 111,\! 100 | 11111111100 | 11,111,111,100 || 11,111,111,101 | 11 | 1111111110
\frac{12}{5,\!525} | \frac{12}{5525} | \frac{12}{5,525} || \frac{12}{5} | \frac{12}{5526} | \frac{12}{552}
12345 | 12,345 | 12{,}345 | 12\,345 | 12,\!345 | 12 345 || 12,346 | 123,45 | 12.345 | 12
1000 | 1,000 | \$1,000 | 1,000.00 | 1{,}000 || 1.000 | 1,001 | 1,00 | 10,00
1000.99 | 1,000.99 | \$1,000.99 | 1{,}000.99 || 1,000 | 1000.9 | \$1,000.90
1234567 | 1,234,567 | 1{,}234{,}567 | 1\,234\,567 || 1,234,568 | 1,234 | 123,4567
(1,234) | (1, 234) || 1234 | 1,234 | (1,235)
\{100,200\} | 100, 200 | \{200,100\} || 100200
2^{10} | 1,024 || 1,025
x+1,000 | 1000+x || x+1
""",
    "fractions, powers and roots without braces": r"""
\frac{1}{a} | \frac1a | 1/a | a^{-1} || \frac1b | a | \frac{1}{A}
\frac{x}{y} | \frac{x}y | \frac xy | x/y | \frac{x}{y} || \frac yx | xy | \frac{x}{Y}
\frac{\pi}{2} | \frac\pi2 | \frac{\pi}2 | \pi/2 | 0.5\pi || \frac2\pi | \pi | 1.57
\frac{1}{2} | \frac12 | 1/2 | 0.5 | \dfrac{1}{2} | \tfrac12 || \frac21 | \frac13 | 12
0.001 | 10^-3 | 10^{-3} | \frac{1}{1000} | 1e-3 || 10^-2 | 10-3 | 10^3
x^{10} | x^10 || x^1 | 10x | x^{11}
\frac{10}{3} | 10/3 | 3\frac13 | 3 \frac{1}{3} || \frac103 | 3.33 | \frac{3}{10}
\frac{a+b}{2} | (a+b)/2 || a+b/2 | a+\frac b2
2^{-3} | 2^-3 | \frac18 | 0.125 || 2^3 | -8
""",
    "rounding": r"""
2.0944 | 2.094 | \frac{2\pi}{3} | 2.0944 | 2.09440 || 2.09 | 2.095 | 2.1 | 2.093 | 2 | 2.0945
-15.700000000000001 | -15.7 | -15.70 || -15.71 | 15.7 | -15.6 | -15.75
0.30000000000000004 | 0.3 | \frac{3}{10} || 0.31 | 0.4
2.0943951023931953 | \frac{2\pi}{3} | 2.094 | 2.0944 || 2.09 | 2.095 | \frac{2\pi}{3.01}
0.6666666666666666 | \frac23 | 0.667 | 0.6667 || 0.66 | 0.7 | 0.666 | \frac35
1.4142 | 1.414 | \sqrt{2} || 1.41 | 1.415 | \sqrt{3}
12.3456 | 12.346 || 12.345 | 12.35 | 12.3
0.0524 | 0.052 || 0.05 | 0.053 | 0.0525
0.0012 || 0.001 | 0 | 0.002
0.00015 || 0.000 | 0 | 0.0002
\frac13 || 0.333 | 0.33 | 0.3333333333
""",
    "scientific notation": r"""
1.5 \times 10^{-4} | 0.00015 | 1.5e-4 | 15 \times 10^{-5} | 1.5 \cdot 10^{-4} | \frac{3}{20000} || 1.5 \times 10^{-5} | 1.5 \times 10^4 | 0.0015 | 1.5 | 0
3.54e-07 | 3.54*10^{-7} | 3.54 \times 10^{-7} | 0.000000354 || 3.54 \times 10^{-6} | 3.55 \times 10^{-7} | 3.54
3 \times 10^8 | 300000000 | 3e8 | 300,000,000 || 3 \times 10^7 | 3 | 38
6.02 \times 10^{23} | 602 \times 10^{21} | 6.02e23 || 6.02 \times 10^{22} | 6.03 \times 10^{23} | 6.02
1e-3 | 0.001 | 10^{-3} || 0.01
0.001 | 10^-3 || 10^-4
2.5E6 | 2500000 | 2.5 \times 10^6 || 2.5 | 250000
""",
    "letter products": r"""
xy | yx | x \cdot y | x y || x | x+y | xz | x/y
ab | ba | a \cdot b || a+b | ac | a | aB
abc | cba | bca | a \cdot b \cdot c || ab | abd | abcc
2mn | 2nm | n \cdot 2m || 2m | mn | 2mN
\overline{CD} | \overline{DC} || \overline{CE} | C | \overrightarrow{DC}
AB | BA || AC | A
no || on
yes || no
Alina || Nalia
\angle ABC | \angle CBA | ∠ABC || \angle BAC | \angle ABD
""",
    "options": r"""
B | (B) | B. | b) | B。 | （B） | 选B | Option B | \text{B} | \textbf{(B)}\ 30 | B. 30 | B: 30 | the answer is B | 答案：B | [B] | B) 30 | 故选B | \mathbf{B} | "B" || A | b | C | (A) or (B) | A, B | BC | A or B | (B)(C) | B, C | Because | 30 | B. C | not B | 13
C | C. A triangle | (C) an acute triangle | C. I and II only | C: 3 || C, A | C or A | A triangle | D. A triangle
(D) Alina | D | (D) | D. Alina | Alina | (D) Alina || C | (C) Alina | (D) Bob | Bob | A | D, E
A, C | AC | C, A | A,C | A and C | A & C || A | C | AB | A, B | ACD | A, C, D
AC | A, C | A and C || A | AB | A, B
(b) | b | (B) | b) || a | (a) | c
(A) | A | a | (A) 5 || B | (B) | AB
A, B, D | ABD | A,B,D || AB | ABCD | A, B, C
D. 42 | D | 42 | (D) | D. 42 || C | 24 | D. 24
""",
    "plus and minus": r"""
\frac{1 \pm \sqrt{17}}{4} | \frac{1+\sqrt{17}}{4}, \frac{1-\sqrt{17}}{4} | \frac{1-\sqrt{17}}{4}, \frac{1+\sqrt{17}}{4} | x=\frac{1 \pm \sqrt{17}}{4} | \frac14 \pm \frac{\sqrt{17}}{4} || \frac{1+\sqrt{17}}{4} | \frac{1-\sqrt{17}}{4} | \frac{1 \pm \sqrt{15}}{4} | \frac{-1 \pm \sqrt{17}}{4} | \pm\frac{1+\sqrt{17}}{4}
3,-3 | \pm 3 | x=\pm3 | -3, 3 | ±3 || 3 | -3 | \pm 2 | 3,3
\frac{-1 \pm \sqrt{3}i}{2} | \frac{-1 \pm i\sqrt{3}}{2} || \frac{1 \pm i\sqrt{3}}{2} | \frac{-1 + i\sqrt{3}}{2} | \frac{-1 \pm \sqrt{3}}{2}
2 \pm \sqrt{3} | 2+\sqrt3, 2-\sqrt3 | 2+\sqrt{3} \text{ and } 2-\sqrt{3} || 2+\sqrt3 | \sqrt{3} \pm 2 | 2, \sqrt{3}
\pm 1, \pm 2 | 1,-1,2,-2 || 1,2 | \pm 1
1 \mp 2 | -1, 3 | 1 \pm 2 || 3 | -1
\pm i | i, -i || i | \pm 1
""",
    "sets of numbers": r"""
(-\infty, 2) \cup (3, \infty) | x<2 \text{ or } x>3 | (3,\infty)\cup(-\infty,2) | x > 3 or x < 2 | x \in (-\infty,2) \cup (3,\infty) | x<2, x>3 | \{x \mid x<2 \text{ or } x>3\} || (-\infty,2] \cup (3,\infty) | x<2 | 2<x<3 | x \le 2 \text{ or } x>3 | (-\infty,2) \cup (4,\infty) | x<2 \text{ and } x>3 | (2,3)
\{x|-2<x<3\} | (-2, 3) | -2<x<3 | \{x : -2 < x < 3\} | \{x \mid -2<x<3\} | x \in (-2,3) | 3>x>-2 | x>-2 \text{ and } x<3 || [-2,3) | [-2,3] | -2<x \le 3 | (-2,4) | (-3,2) | -2,3 | x>-2
x \le 3 | (-\infty, 3] | x \leq 3 | 3 \ge x | \{x \mid x \le 3\} || x<3 | (-\infty,3) | x \ge 3 | 3 | x \le 4 | y \le 3
[1,5) | 1 \le x<5 || (1,5] | (1,5) | [1,5] | 1<x<5 | 1,5
\mathbb{R} | (-\infty,\infty) | \text{all real numbers} | x \in \mathbb{R} | ℝ || \emptyset | (0,\infty) | \mathbb{Z} | [0,\infty)
\emptyset | \text{no solution} | \varnothing | \{\} | \text{no real solutions} | ∅ | No solution || 0 | \{0\} | \mathbb{R} | \{\emptyset\}
x \ne 1 | (-\infty,1)\cup(1,\infty) | x \neq 1 | \mathbb{R} \setminus \{1\} || x=1 | x \ne 2 | \mathbb{R} | 1
x>0 | (0,\infty) | 0<x | (0,+\infty) || x \ge 0 | x<0 | [0,\infty) | 0
a<x<b || a<x \le b | b<x<a | a \le x<b
[0,1] \cup \{2\} | \{2\} \cup [0,1] || [0,1] | [0,2] | [0,1) \cup \{2\}
-1 \le k \le 1 | [-1,1] | k \in [-1,1] || (-1,1) | -1<k<1 | x \in [-1,1]
\text{no solution} | \emptyset || 0
2x+3y \le 6 | 6 \ge 2x+3y | 4x+6y \le 12 || 2x+3y<6 | 2x+3y \ge 6 | 2x+3y=6 | 3x+2y \le 6
""",
    "vectors": r"""
(1,2) | \langle 1,2\rangle | \begin{pmatrix}1\\2\end{pmatrix} | \begin{bmatrix} 1 \\ 2 \end{bmatrix} | <1,2> | \left(1, 2\right) || \langle 2,1\rangle | \begin{pmatrix}2\\1\end{pmatrix} | \{1,2\} | \begin{pmatrix}1&2\\3&4\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix} | (1,2) | \langle 1,2\rangle | \begin{bmatrix}1\\2\end{bmatrix} || \begin{pmatrix}1&2\end{pmatrix} | \begin{pmatrix}2\\1\end{pmatrix} | (2,1) | (1,2,3)
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{bmatrix}1&2\\3&4\end{bmatrix} | \begin{pmatrix} 1 & 4/2 \\ 3 & 4 \end{pmatrix} || \begin{pmatrix}1&3\\2&4\end{pmatrix} | \begin{pmatrix}1&2\\3&5\end{pmatrix} | (1,2,3,4)
(1,2,3) | \langle 1,2,3 \rangle | \begin{pmatrix}1\\2\\3\end{pmatrix} || \langle 1,2 \rangle | \langle 3,2,1 \rangle
\left\langle \frac12, 3 \right\rangle | (0.5, 3) || (2,3)
\begin{pmatrix}10^{-30}\\1\end{pmatrix} || \begin{pmatrix}0\\1\end{pmatrix} | (10^{-31},1)
""",
    "compound units": r"""
89 \mathrm{~km} / \mathrm{h} | 89 | 89 km/h | 89 \text{ kilometers per hour} | 89 kph || 89 \mathrm{~m}/\mathrm{s} | 89 km | 98 | 89 mph
25 \pi / 144 \mathrm{~m} / \mathrm{min} | \frac{25\pi}{144} | \frac{25\pi}{144} \text{ m/min} || \frac{25}{144} | \frac{25\pi}{144} \text{ m/s}
3 \mathrm{~g} / \mathrm{cm}^3 | 3 | 3 \text{ g/cm}^3 || 3 \mathrm{~g}/\mathrm{cm}^2 | 3 g
5 \mathrm{~m}^2 | 5 | 5 \text{ square meters} || 5 \text{ m} | 5 \mathrm{~m}^3
12 \text{ kg} \cdot \text{m}/\text{s}^2 | 12 || 12 kg
4 \mathrm{~N} \cdot \mathrm{m} | 4 || 4 \text{ N}
""",
    "ordinals, currency, temperature": r"""
12 | 12^{\text{th}} | 12th | 12^{th} | 12\text{th} || 13^{\text{th}} | 12^{2} | 12t
3 | 3rd | 3^{\text{rd}} || 3^r | 2nd
21 | 21st | 21^{\text{st}} || 22nd
18 | 18^{\circ}\text{C} | 18°C | 18 ℃ | 18^\circ C | 18 \text{ degrees Celsius} || 19^\circ C | 18 \text{ hundred}
18^\circ\text{C} | 18 | 18°C | 18 \text{ degrees Celsius} | 18^\circ || 18°F | 81
12.50 | \$12.50 | 12.50\text{ dollars} | 12.5 | 12.50 \text{ USD} | 12\frac12 || \$12.60 | 12.50 \text{ million} | 125 | 1250 \text{ cents}
-5 | -5^\circ\text{C} | -\$5 || 5^\circ C | \$5
\$0.75 | 0.75 | \$\frac{3}{4} || 75 | 75 \text{ cents}
""",
    "repeating decimals and powers of i": r"""
\frac{1}{3} | 0.\overline{3} | 0.\dot{3} | 0.333\ldots | 0.\bar{3} | 0.3\overline{3} || 0.3 | 0.333 | 0.\overline{4} | 0.\overline{03} | 0.\overline{34}
\frac{1}{7} | 0.\overline{142857} || 0.142857 | 0.\overline{142856}
\frac{1}{6} | 0.1\overline{6} | 0.1\dot{6} || 0.\overline{16} | 0.16 | 0.\overline{6}
\frac{4}{33} | 0.\overline{12} | 0.\dot{1}\dot{2} || 0.12 | 0.1\overline{2}
1 | i^4 | 0.\overline{9} | i^{8} | (-i)^4 || i^2 | i | 0.\overline{8} | i^3
-1 | i^2 | i^6 || i^4 | -i | i^5
-i | i^3 | \frac{1}{i} || i | i^5 | 1
0.\overline{36} | \frac{4}{11} || 0.36 | \frac{9}{25} | 0.3\overline{6}
2 | 1.\overline{9} || 1.9 | 1.\overline{8}
""",
    "dressing": r"""
12 | \textcolor{red}{12} | \underline{12} | \boldsymbol{12} | \mathbf{12} | {\color{blue} 12} | \bm{12} | \textbf{12} | \boxed{12} | $12$ | \(12\) | \displaystyle 12 | １２ | **12** | 12. | \text{12} | \textcolor{blue}{\mathbf{12}} | \mathrm{12} | \underline{\text{12}} | ​12 | \emph{12} | {12} | \begin{aligned} 12 \end{aligned} | \therefore 12 | x = 5+7 \Rightarrow x = 12 || \textcolor{red}{13} | \underline{1}2 3 | \overline{12}3 | 1\!\!3 | \color{red}{21}
5 | ​5 | ５ | \begin{aligned} x &= 2+3 \\ &= 5 \end{aligned} || \begin{aligned} x &= 2+3 \\ &= 6 \end{aligned} | ​6
125 miles | 125\textnormal{ miles} | 125 \mbox{ miles} | 125 | 125 \textrm{ miles} | 125 \textit{miles} || 125 \textnormal{ km} | 126 miles
\frac{1}{2} | ½ | \cfrac{1}{2} | \frac{\textcolor{red}{1}}{2} || ⅓ | ¼
x^2 | x² | \mathbf{x}^2 | 𝑥^2 || x³ | 2x
-5 | −5 | – 5 | -\text{5} || 5 | ‑6
(3, 4) | \left( 3,\ 4 \right) | \big(3,4\big) | （3，4） | \Big(3, 4\Big) || （4，3）
\alpha+1 | α+1 || a+1
x=1, y=2 | \begin{aligned} x &= 1 \\ y &= 2 \end{aligned} || \begin{aligned} x &= 2 \\ y &= 1 \end{aligned}
2\pi | 2π | 2 \cdot π | 2\,\pi || 2p
""",
    "angles": r"""
\frac{\pi}{6} | 30^\circ | 30° | 30 \text{ degrees} | \frac{\pi}{6} \text{ rad} || 60^\circ | 30 | \frac{\pi}{3} | 0.52
30^\circ | \frac{\pi}{6} | 30 | 30 \text{ degrees} || \frac{\pi}{3} | 60^\circ | 30 \text{ cm}
\pi | 180^\circ || 180 | 360^\circ
2\pi | 360^\circ || 360
180-x | 180^\circ - x || 180+x
\frac{1}{2} | \sin 30^\circ | \cos 60° | \sin\frac{\pi}{6} || \sin 60^\circ | \sin 30
""",
    "words": r"""
\text{yes} | Yes | yes | YES. || no | y
undefined | \text{Undefined} | DNE | does not exist || 0 | \infty
\infty | \text{infinity} | ∞ | +\infty || -\infty | 0
right triangle | Right Triangle | \text{right triangle} || acute triangle | right
5 | five | \text{five} || six | fifty
Alina | alina || Bob
isosceles | Isosceles | an isosceles || scalene
""",
    "algebra": r"""
(x+1)^2 | x^2+2x+1 | (1+x)(x+1) || x^2+1 | (x-1)^2 | x^2+2x
2\sqrt{2} | \sqrt{8} | \frac{4}{\sqrt2} | 2^{3/2} | 2^{1.5} || 2.828 | \sqrt{6} | 4
\ln 2 | \ln(2) | \log_e 2 || \log 2 | \log_2 e | 0.693
3+4i | 4i+3 || 3-4i | 4+3i | 7i | 5
\frac{x-1}{x+1} | 1-\frac{2}{x+1} || \frac{x+1}{x-1} | \frac{1-x}{x+1}
\sin^2 x | 1-\cos^2 x || \sin x^2 | \cos^2 x | 1
2^n | 2 \cdot 2^{n-1} || n^2 | 2^{n-1} | 2n
\binom{n}{2} | \frac{n(n-1)}{2} || \frac{n(n+1)}{2} | \binom{2}{n}
(-1)^n | (-1)^{n+2} | \cos(n\pi) || (-1)^{n+1} | 1 | -1
y=2x+1 | 2x+1 | 2x-y+1=0 | y-2x=1 || y=2x | y=2x-1 | x=2y+1 | 2x+1=0
x^2+y^2=25 | y^2+x^2=25 | 2x^2+2y^2=50 || x^2+y^2=5 | 25 | x^2-y^2=25 | x+y=5
|x| | \sqrt{x^2} || x | -x
e^{i\pi} | -1 || 1 | i
\lfloor 3.7 \rfloor | 3 || 4
\sqrt[3]{8} | 2 | 8^{1/3} || \sqrt{8} | 3
3x+C | C+3x || 3x | 3x+D
""",
}


def rows() -> list[tuple[str, str, str, bool]]:
    """Kind, gold, answer and whether the answer is right."""
    found = []
    for kind, text in KINDS.items():
        for line in filter(None, text.splitlines()):
            accepted, _, refused = line.partition(" || ") if " || " in line else line.partition("|| ")
            gold, *right = _cells(accepted)
            found += [(kind, gold, answer, True) for answer in right]
            found += [(kind, gold, answer, False) for answer in _cells(refused)]
    return found


def _cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.split(" | ") if cell.strip()]
