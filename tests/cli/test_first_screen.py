"""What somebody sees who types `cepo`, or a command without what it needs: at 80 columns."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from cepo.cli import GROUPS, build_parser, main

NEED_WORDS = ("train", "launch", "doctor", "export", "report", "show", "data", "eval", "compare", "audit", "grade")


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_cepo_alone_lists_every_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    listed = re.findall(r"^  ([a-z]+) +\S", shown.partition("`cepo COMMAND")[0], flags=re.MULTILINE)
    assert sorted(listed) == sorted(build_parser()[1].choices)
    assert [line for line in lines if line.endswith(":")][: len(GROUPS)] == [f"{title}:" for title, _ in GROUPS]
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("command", NEED_WORDS)
def test_a_command_without_what_it_needs_shows_an_example_that_parses(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 2
    shown = capsys.readouterr().err
    assert max(map(len, shown.splitlines())) <= 80
    (example,) = re.findall(r"for example: cepo (.+)", shown)
    words = shlex.split(example)
    options, _ = build_parser()[0].parse_known_args(words)
    assert options.command == words[0] == command


def test_help_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for command, parser in build_parser()[1].choices.items():
        assert main([command, "--help"]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
        assert isinstance(parser, argparse.ArgumentParser)


def test_a_word_that_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "there is no command 'trian'; did you mean 'train'?" in capsys.readouterr().err
    assert main(["report", "runs", "--wach"]) == 2
    assert "cepo report: error: unknown arguments: --wach" in capsys.readouterr().err
