"""The report's numbers, what it does with hostile text, and with run folders that are broken."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cepo.cli import main
from cepo.credit.evidence import contrastive_evidence, modulate, privileged_gain, weights
from cepo.reports.page import embed, write_report
from cepo.reports.recompute import recompute
from cepo.reports.run_data import load_run
from cepo.reports.terminal import find_record, printable, show_record
from tests.reports.conftest import MakeRun, record

HOSTILE = [
    "</script><script>document.title='pwned'</script>", "<img src=x onerror=\"document.title='pwned'\">", "\u202eabc",
    "\x00\x1b[31m", "\ud800", "&lt;b&gt;", "\u2028", "<!--", "]]>", "\u05d0\u05d1", "\t", "a\nb",
]  # fmt: skip


@pytest.mark.parametrize("method", ["cepo", "rlsd", "grpo"])
@pytest.mark.parametrize("advantage", [-0.8, 0.0, 1.3])
def test_the_plain_twin_equals_the_tensors(method: str, advantage: float) -> None:
    rollout = record(base_advantage=advantage)
    plus, minus, student = (
        torch.tensor([values], dtype=torch.float64)
        for values in (rollout.logp_plus, rollout.logp_minus, rollout.logp_student)
    )
    mask, A = torch.ones(1, 4, dtype=torch.float64), torch.tensor([advantage], dtype=torch.float64)
    evidence = {
        "cepo": lambda: contrastive_evidence(plus, minus, mask),
        "rlsd": lambda: privileged_gain(plus, student, mask),
        "grpo": lambda: torch.zeros_like(plus),
    }[method]()
    found = recompute(rollout, method)
    assert found is not None
    assert found.evidence == pytest.approx(evidence[0].tolist())
    assert found.weight == pytest.approx(weights(A, evidence, mask, 0.5)[0].tolist())
    assert found.advantage == pytest.approx(modulate(A, evidence, mask, 0.5, 0.5)[0].tolist())


def test_unscored_rollouts_and_fallbacks() -> None:
    assert recompute(record(logp_plus=None), "cepo") is None
    fallback, rlsd = recompute(record(logp_minus=None), "cepo"), recompute(record(), "rlsd")
    assert fallback is not None
    assert rlsd is not None
    assert fallback.evidence == rlsd.evidence
    with pytest.raises(ValueError, match="'ppo'"):
        recompute(record(), "ppo")


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
    assert len(twin["runs"][0]["rollouts"]) == 2
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
    assert [rollout["row"] for rollout in run.rollouts] == [0, 1]
    notes = " ".join(run.notes)
    for words in ("line 3 is damaged", "unfinished last line", "metrics.jsonl, line 4", "image", "is missing"):
        assert words in notes


def test_a_trace_of_another_version_and_no_trace(make_run: MakeRun) -> None:
    newer, without = make_run("newer"), make_run("without")
    trace = newer / "traces" / "credit.jsonl"
    trace.write_text(trace.read_text().replace('"schema":1', '"schema":99'))
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
    screen = io.StringIO()
    show_record(find_record(folder, 0, None), "advantage", Console(file=screen, width=200, highlight=False))
    text = screen.getvalue()
    assert "\x1b[31m" not in text
    assert "\u202e" not in text
    for shown in ("</script>", "<202E>abc", "<001B>[31m", "<D800>", "[bold]x[/bold]"):
        assert shown in text
    assert printable("a\nb").startswith("a\u21b5\n")
    assert main(["show", str(folder)]) == 0
    assert "strongest evidence" in capsys.readouterr().out


OWN = {"evidence": [0.0, 0.2, -0.1, 0.25], "weight": [1.0, 0.8, 1.1, 0.75], "advantage": [-0.8, -0.7, -0.84, -0.7]}


def test_a_rule_of_ones_own_is_shown_by_its_recorded_numbers(make_run: MakeRun) -> None:
    own = record(0, method="bent", **OWN)
    without = record(1, method="bent", evidence=None, weight=None)
    found = recompute(own, "bent")
    assert found is not None
    assert {"evidence": found.evidence, "weight": found.weight, "advantage": found.advantage} == OWN
    assert recompute(without, "bent") is None
    run = load_run(make_run(records=[own, without]))
    assert [rollout["own"] for rollout in run.rollouts] == [OWN, None]
    assert sum(run.histogram["negative"]) == 4
    assert load_run(make_run("ours")).rollouts[0]["own"] is None
    screen = io.StringIO()
    show_record(own, "evidence", Console(file=screen, width=200, highlight=False))
    assert "strongest evidence (bent)" in screen.getvalue()
    assert "+0.250" in screen.getvalue()


@pytest.mark.browser
def test_a_rule_of_ones_own_in_a_browser(make_run: MakeRun, tmp_path: Path) -> None:
    body = detail(
        make_run(records=[record(0, method="bent", **OWN), record(1, method="bent", evidence=None)]), tmp_path
    )
    assert [float(value) for value in re.findall(r'data-value="([-\d.]+)"', body)] == OWN["evidence"]
    assert re.search(r'aria-pressed="true">BENT<', body)
    assert "not scored" in body
    ours = detail(make_run("ours", [record(0)]), tmp_path)
    assert re.search(r'aria-pressed="true">CEPO<', ours)


def detail(folder: Path, out: Path) -> str:
    """The page's right side on the first rollout, as chromium draws it."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed: apt-get install chromium"
    write_report([folder], out / "own.html")
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command.append(f"file://{out / 'own.html'}#r=0.1.0")
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return dom[dom.index('id="detail"') : dom.index("</article>")]


@pytest.mark.browser
def test_in_a_browser(make_run: MakeRun, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed: apt-get install chromium"
    hostile = record(0, tokens=HOSTILE, prompt_text="<b>bold</b>", answer="<i>5</i>", problem_id="<u>p</u>")
    out = tmp_path / "report.html"
    write_report([make_run(records=[hostile, record(1)])], out)
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{out}#r=0.1.0"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>cepo report</title>" in dom
    assert dom.count("<script") == 2
    body = dom[dom.index('id="detail"') : dom.index("</article>")]
    for tag in ('<img src="x"', "<b>bold", "<i>5", "<u>p"):
        assert tag not in body
    for shown in ("&lt;/script&gt;", "⟨202e⟩abc", "⟨001b⟩", "⟨d800⟩", "&lt;b&gt;bold", "&amp;lt;b&amp;gt;"):
        assert shown in body
    expected = recompute(hostile, "cepo")
    assert expected is not None
    values = [float(value) for value in re.findall(r'data-value="([-\d.]+)"', body)][: len(HOSTILE)]
    assert values == pytest.approx(expected.evidence, abs=2e-4)
