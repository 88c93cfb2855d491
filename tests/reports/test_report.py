"""The report's numbers, what it does with hostile text, and with run folders that are broken."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cepo.cli import main
from cepo.glossary import Told
from cepo.reports.page import embed, pack, write_report
from cepo.reports.run_data import load_run
from cepo.reports.terminal import By, find_record, printable, show_record
from cepo.reports.traces import SCHEMA, CreditRecord
from tests.reports.conftest import MakeRun, record, unscored

HOSTILE = [
    "</script><script>document.title='pwned'</script>", "<img src=x onerror=\"document.title='pwned'\">", "\u202eabc",
    "\x00\x1b[31m", "\ud800", "&lt;b&gt;", "\u2028", "<!--", "]]>", "\u05d0\u05d1", "\t", "a\nb",
]  # fmt: skip


SKILL = Told(("Draw a <b>line</b>.",), "column skill", "rationale")
THIRD = {
    "method": "bent",
    "told": {"plus": Told(("4",), "gold"), "minus": Told((), "rlsd"), "skill": SKILL},
    "logps": {"student": [-0.5] * 4, "plus": [-0.25] * 4, "skill": [-1.125, -1.25, -1.375, -1.5]},
    "evidence": [0.0, 0.2, -0.1, 0.25],
    "weight": None,
    "advantage": [-0.8, -0.7, -0.84, -0.7],
}
"""A rule of the user's own, which reads a third prompt and has no weight."""

DEAD_ZONE = {
    "base_advantage": 0.8, "advantage": [0.8] * 4, "evidence": [0.0] * 4, "weight": [1.0] * 4, "dead_zone": 0.3,
    "logps": {"student": [-0.5] * 4, "plus": [-0.25] * 4, "minus": [-0.5] * 4},
}  # fmt: skip
"""Trained with weight 1; from the log-probs alone it would be exp(0.25) = 1.284."""


def shown(rollout: CreditRecord, by: By = "evidence") -> str:
    screen = io.StringIO()
    show_record(rollout, by, Console(file=screen, width=200, highlight=False))
    return screen.getvalue()


@pytest.mark.parametrize("by", ["evidence", "weight", "advantage"])
def test_show_says_what_was_recorded(by: By) -> None:
    text = shown(record(**DEAD_ZONE), by)
    assert "1.000" in text
    assert "1.284" not in text
    assert "dead zone 0.3 nats" in text
    for words in ("r+ = 4 (gold)", "r- = 5 (group, its own answer)", "log P_S", "log P+", "log P-"):
        assert words in text
    row = next(line for line in shown(record(), by).splitlines() if "=5" in line and "│" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "4", "=5", "-0.500", "-1.300", "-0.300", "-0.750", "1.500", "-1.000",
    ]  # fmt: skip


def test_show_knows_any_prompt_and_any_rule() -> None:
    text = shown(record(**THIRD))
    for words in ("bent: A = -0.800", "r- = none (rlsd)", "skill = Draw a <b>line</b>. (column skill)", "log P(skill)"):
        assert words in text
    assert re.search(r"4 +│ =5 .*-1\.500 │ +\+0\.250 │ +-0\.700", text)
    assert "bent recorded no weight: see --by evidence, advantage" in shown(record(**THIRD), "weight")
    weights = shown(record(evidence=None, weight=[math.nan, 0.5, 1.1, 1.0]))
    assert "strongest weight" in weights
    assert re.search(r"│ 2 +│ \+ ", weights.split("strongest weight")[1].splitlines()[4])
    grpo = shown(unscored(method="grpo"))
    assert "no credit was recorded here: all tokens have one advantage, A = -0.800" in grpo
    assert "strongest" not in grpo


def test_nothing_in_the_data_can_leave_its_element() -> None:
    text = embed({"tokens": HOSTILE})
    assert not re.search(r"[<>&]", text)
    assert text.isascii()
    assert json.loads(text)["tokens"] == HOSTILE


def test_a_report_is_one_page_with_a_twin(make_run: MakeRun, tmp_path: Path) -> None:
    out = tmp_path / "out" / "report.html"
    (run,) = write_report([make_run()], out)
    page = out.read_text()
    assert page.count("<script") == 2
    assert not re.search(r"(src|href)=\"http", page)
    twin = json.loads(out.with_suffix(".json").read_text())
    assert twin["runs"][0]["metrics"]["reward"] == [[1, 0.1], [2, 0.2], [3, pytest.approx(0.3)]]
    assert twin["runs"][0]["rollouts"][0]["logps"]["plus"] == [-0.4, -0.7, -1.0, -1.3]
    assert sum(run.histogram["negative"]) == 8
    assert all(image.startswith("data:image/png;base64,") for image in run.images.values())


def test_broken_folders_show_what_is_left(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(records=[record(0), record(1), record(2)])
    trace = folder / "traces" / "credit.jsonl"
    lines = trace.read_text().splitlines(keepends=True)
    trace.write_text(lines[0] + lines[1] + "{broken\n" + lines[2] + lines[3][:50])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "rew')
    for image in (folder / "traces" / "images").iterdir():
        image.unlink()
    run = load_run(folder)
    assert [rollout.row for rollout in run.rollouts] == [0, 1]
    notes = " ".join(run.notes)
    for words in ("line 3 is damaged", "unfinished last line", "metrics.jsonl, line 4", "image", "is missing"):
        assert words in notes


def test_a_trace_of_another_version_and_no_trace(make_run: MakeRun) -> None:
    newer, without = make_run("newer"), make_run("without")
    trace = newer / "traces" / "credit.jsonl"
    trace.write_text(trace.read_text().replace(f'"schema":{SCHEMA}', '"schema":99'))
    assert any("99" in note for note in load_run(newer).notes)
    shutil.rmtree(without / "traces")
    run = load_run(without)
    assert any("trace_groups" in note for note in run.notes)
    assert run.metrics["reward"]


def test_refusals(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "not a run folder" in capsys.readouterr().err
    run = str(make_run())
    assert main(["report", run, run]) == 2
    assert "twice" in capsys.readouterr().err
    assert main(["show", run, "--row", "77"]) == 2
    assert "step 1: rows 0, 1" in capsys.readouterr().err


def test_show_prints_text_and_not_commands(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(records=[record(0, tokens=[*HOSTILE, "[bold]x[/bold]"])])
    told = {"[red]x[/red]\x1b[31m": Told(("\u202eabc",), "[b]from[/b]\x00")}
    odd = record(0, tokens=[*HOSTILE, "[bold]x[/bold]"], told=told, logps={"\x1b[31m[i]y[/i]": [0.0] * 13})
    text = shown(find_record(make_run("odd", [odd]), 0, None), "advantage")
    assert "\x1b[31m" not in text
    assert "\u202e" not in text
    for words in ("</script>", "<202E>abc", "<001B>[31m", "<D800>"):
        assert words in text
    for words in ("[bold]x[/bold]", "[red]x[/red]", "[b]from[/b]", "[i]y[/i]"):
        assert words in text
    assert printable("a\nb").startswith("a\u21b5\n")
    assert main(["show", str(folder)]) == 0
    assert "strongest evidence" in capsys.readouterr().out


def test_the_histogram_counts_recorded_evidence(make_run: MakeRun) -> None:
    rows = [record(0, **THIRD), record(1, base_advantage=0.0, evidence=[9.0, math.nan, -9.0, 0.05]), unscored(2)]
    histogram = load_run(make_run(records=rows)).histogram
    assert [sum(histogram[sign]) for sign in ("positive", "negative", "zero")] == [0, 4, 3]
    assert (histogram["zero"][0], histogram["zero"][20], histogram["zero"][-1]) == (1, 1, 1)


@pytest.mark.parametrize(
    "values", [[0.0, 1.0, -0.2345, 32.766], [32.9], [-45.25, 0.5], [math.inf, -math.inf, math.nan], []]
)
def test_packed_numbers_are_the_recorded_ones_to_three_decimals(values: list[float]) -> None:
    packed = pack(values)
    numbers = np.frombuffer(base64.b64decode(packed[1:]), "<i2" if packed[0] == "i" else "<f4")
    np.testing.assert_allclose(numbers / (1000 if packed[0] == "i" else 1), values, rtol=0, atol=5e-4)


def browse(page: Path, place: str = "") -> str:
    """The page as chromium draws it."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed: apt-get install chromium"
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{page}{place}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def part(dom: str, start: str, end: str) -> str:
    return dom[dom.index(start) : dom.index(end)]


def viewed(folder: Path, out: Path, by: str = "evidence", place: str = "0.1.0.3") -> tuple[str, str]:
    """What stands on the right and in the bar at the bottom, with a token of the first rollout in focus."""
    write_report([folder], out / "page.html")
    page = (out / "page.html").read_text().replace('by: "evidence"', f'by: "{by}"')
    (out / "page.html").write_text(page)
    dom = browse(out / "page.html", f"#r={place}")
    return part(dom, 'id="detail"', "</article>"), re.sub("<[^>]+>", "", part(dom, 'id="hover"', "</aside>"))


def values(body: str) -> list[float]:
    return [float(value) for value in re.findall(r'data-value="([-\d.]+|NaN)"', body)]


@pytest.mark.browser
def test_the_page_says_what_was_recorded(make_run: MakeRun, tmp_path: Path) -> None:
    dead, plain = make_run("dead", [record(0, **DEAD_ZONE)]), make_run("plain", [record(0)])
    body, bar = viewed(dead, tmp_path, "weight")
    assert values(body) == [1.0] * 4
    assert "0.300 nats" in body
    assert "weight 1.000" in bar
    body, bar = viewed(plain, tmp_path)
    assert values(body) == [0.0, 0.0, 0.0, -0.75]
    for fact in ("log P_S -0.500", "log P+ -1.300", "log P- -0.300", "evidence -0.750 nats", "weight 1.500"):
        assert fact in bar
    assert "advantage -1.000" in bar
    assert values(viewed(plain, tmp_path, "advantage")[0]) == [-0.8, -0.8, -0.8, -1.0]


@pytest.mark.browser
def test_any_rule_and_any_prompt_in_a_browser(make_run: MakeRun, tmp_path: Path) -> None:
    odd = record(1, **(THIRD | {"evidence": [math.inf, -40.0, math.nan, 0.0]}))
    body, bar = viewed(make_run(records=[record(0, **THIRD), odd, unscored(0, step=2)]), tmp_path)
    assert values(body)[:4] == THIRD["evidence"]
    assert re.findall(r'data-value="([^"]+)"', body)[4:] == ["Infinity", "-40.000", "NaN", "0.000"]
    assert "<code>bent</code>" in body
    assert ">weight<" not in body
    assert "skill <code>Draw a &lt;b&gt;line&lt;/b&gt;.</code><small> column skill</small>" in body
    assert "r- <code>none</code><small> rlsd</small>" in body
    for fact in ("log P(skill) -1.500", "evidence +0.250 nats", "advantage -0.700"):
        assert fact in bar
    assert "log P- " not in bar
    body, bar = viewed(tmp_path / "run", tmp_path, place="0.2.0.3")
    assert "no credit was recorded, A for every token" in body
    assert "advantage -0.800" in bar
    assert values(body) == []


@pytest.mark.browser
def test_the_strongest_evidence_stands_first(make_run: MakeRun, tmp_path: Path) -> None:
    rows = [unscored(0), record(1), record(2, evidence=[0.0, 0.0, 3.5, math.nan])]
    write_report([make_run(records=rows)], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    (tmp_path / "page.html").write_text(
        page.replace('value="evidence">strongest', 'value="evidence" selected>strongest')
    )
    listed = part(browse(tmp_path / "page.html"), 'id="space"', "<article")
    assert re.findall(r"row (\d)(?: · ([\d.]+) nats)?", listed) == [("2", "3.5"), ("1", "0.8"), ("0", "")]


@pytest.mark.browser
def test_hostile_text_in_a_browser(make_run: MakeRun, tmp_path: Path) -> None:
    told = {"<img src=x>": Told(("<i>5</i>", "\u202e"), "<s>"), "__proto__": Told(("x",), "y")}
    logps = {"<img src=x>": [-1.0] * len(HOSTILE)}
    hostile = record(
        0, tokens=HOSTILE, prompt_text="<b>bold</b>", answer="<i>5</i>", problem_id="<u>p</u>", told=told, logps=logps,
        method="<q>",
    )  # fmt: skip
    out = tmp_path / "report.html"
    write_report([make_run(records=[hostile, record(1)])], out)
    dom = browse(out, "#r=0.1.0.0")
    assert "<title>cepo report</title>" in dom
    assert dom.count("<script") == 2
    body = part(dom, 'id="detail"', "</article>") + part(dom, 'id="hover"', "</aside>")
    for tag in ('<img src="x"', "<b>bold", "<i>5", "<u>p", "<q>", "<s>"):
        assert tag not in body
    for words in ("&lt;/script&gt;", "⟨202e⟩abc", "⟨001b⟩", "⟨d800⟩", "&lt;b&gt;bold", "&amp;lt;b&amp;gt;"):
        assert words in body
    assert "log P(&lt;img src=x&gt;) " in body
    assert values(body)[: len(HOSTILE)] == [0.0] * (len(HOSTILE) - 1) + [-0.75]


@pytest.mark.browser
def test_the_page_begins_with_what_happened(make_run: MakeRun, tmp_path: Path) -> None:
    wrong = record(1, ["so ", "4", ", ", "then ", "7", "."], problem_id="chain/3+1+8#0", group=0)
    folder = make_run(records=[record(0, ["so ", "4", ", ", "2"], correct=True, problem_id="chain/3+1+8#0"), wrong])
    lines = [{"step": s, "reward": s % 2, "credit/groups_undecided": 0.9} for s in range(1, 41)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "curve.jsonl").write_text(json.dumps({"step": 0, "accuracy": 0.5, "problems": 100}) + "\n")
    write_report([folder], tmp_path / "page.html", 10.0)
    hover = "for (const svg of document.querySelectorAll('svg')) svg.dispatchEvent(new PointerEvent('pointermove'));"
    page = (tmp_path / "page.html").read_text().replace("</body>", f"<script>{hover}</script></body>")
    (tmp_path / "page.html").write_text(page)
    dom = browse(tmp_path / "page.html")
    first, pair, curves = (
        part(dom, f'id="{a}"', f'id="{b}"')
        for a, b in (("runs", "picked"), ("picked", "curves"), ("curves", "rollouts"))
    )
    for words in ("is training: held-out accuracy is 50.0%", "step 40", "Reward flat", "#groups-undecided"):
        assert words in first
    assert first.index('class="headline"') < first.index('class="progress"') < first.index('class="remark"')
    assert pair.index("One right rollout") < pair.index("One wrong rollout") < pair.index("first wrong</i>")
    assert pair.count("first wrong</i>") == 1
    assert 'class="t first' in pair
    assert curves.index(">Accuracy<") < curves.index(">Reward<")
    assert curves.count('class="interval"') == 1
    assert curves.count('class="raw"') == curves.count('class="smooth"') - 1 == 2  # the histogram has no raw one
    assert "step 0: run 50.0% [40.4, 59.6]" in curves
    assert "step 1: run 0.667 (this step 1.00)" in curves, "the mean of the first three of 1, 0, 1, ..."
