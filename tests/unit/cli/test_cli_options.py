"""Options by their whole names, and what is said of those that are none."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from bpflens.cli.app import parser, run


def parsers(inner: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands and verbs."""
    yield inner
    for action in inner._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def test_no_command_takes_an_abbreviation(capsys: pytest.CaptureFixture[str]) -> None:
    tried = 0
    for inner in parsers(parser()):
        known = [name for name in inner._option_string_actions if name.startswith("--")]
        for name in known:
            short = name[:-1]
            if short in known or len(short) < 3:
                continue
            tried += 1
            with pytest.raises(SystemExit):
                inner.parse_args([short])
            said = capsys.readouterr().err.partition(f"{short} is no option: write ")[2]
            assert name in said.split(), inner.prog
    assert tried > 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("unpin --dry /sys/fs/bpf/x", "--dry is no option: write --dry-run"),
        ("prog list --js", "--js is no option: write --json or --jsonl"),
        ("prog list --lim=3", "--lim is no option: write --limit"),
        ("--js prog list", "--js is no option: write --json or --jsonl"),
        ("prog show --whe id>1", "--whe is no option: write --where"),
    ],
)
def test_who_abbreviates_an_option_is_told_its_name(
    capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert run(words.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--nonsense", "--", "-x", "--d"])
def test_what_abbreviates_nothing_is_not_explained(
    capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert run(["prog", "list", words, "more"]) == 2
    assert "is no option" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["prog", "list", "\x1b[2J\r\n\u202e"],
        ["prog", "\x1b[2J"],
        ["\x1b[2J"],
        ["--\x1b[2J", "prog", "list"],
        ["prog", "list", "--limit", "\x1b[2J\x9b"],
        ["completion", "\x1b[2J\udcff"],
        ["prog", "list", "--js\x1b[2J"],
        ["map", "dump", "1", "--seconds", "\x07"],
    ],
)
def test_a_message_about_arguments_is_safe_to_show(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run(words) == 2
    err = capsys.readouterr().err
    assert all(char == "\n" or char.isprintable() for char in err)
    assert "\\x1b[2J" in err or "\\x07" in err
    assert "bpflens" in err.splitlines()[-1]
