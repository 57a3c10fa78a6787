"""From arguments to a command, and from its errors to words and an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from errno import EBADF

from bpflens.cli.options import Parser, common_options
from bpflens.cli.session import Session
from bpflens.errors import BpflensError, Denied
from bpflens.present.text import clean

COMMANDS = {
    "overview": "how many of what, what is attached, what looks wrong (the default)",
    "prog": "programs: list, show, dump, explain, match",
    "map": "maps: list, show, dump, lookup, get; set, delete, push, pop",
    "attach": "attachments: list, of every kind and in every namespace",
    "why": "why a program, map or link is still there, and what would free it",
    "orphans": "what is loaded and attached nowhere, leaked, unused, or there many times",
    "graph": "all objects and what ties them: a tree, paths, what would go with what",
    "link": "links: list, show, detach",
    "btf": "types: list, show, dump as C, as JSON or as bpftool lists them",
    "doctor": "what this user can see on this kernel, and what would grant the rest",
    "unpin": "take a pin away",
    "record": "record this machine's answers in a file, to look at it elsewhere",
    "completion": "print a completion script for a shell",
}
"""Command → its line in the help; the module of that name in this package adds its parser."""

NOUNS_WITH_VERBS = ("prog", "map", "link", "attach", "btf")
"""Commands whose verbs, not they themselves, take the common options."""

DESCRIPTION = "See everything about the BPF programs and maps of a Linux system."

EPILOG = """\
exit status: 0 ok, 1 failed or incomplete, 2 usage, 3 not found, 4 not permitted, 5 not supported
"""

BROKEN_PIPE = 141
"""128 + SIGPIPE, as a shell reports a program that wrote into a closed pipe."""


def parser(arguments: list[str] | None = None) -> argparse.ArgumentParser:
    """The parser; with `arguments`, only the commands that they name are filled in."""
    top = Parser("bpflens", description=DESCRIPTION, epilog=EPILOG)
    common_options(top)
    top.add_argument("-V", "--version", action="store_true", help="print the version")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, words in COMMANDS.items():
        inner = commands.add_parser(name, help=words, description=words)
        if name not in NOUNS_WITH_VERBS:
            common_options(inner)
        if arguments is None or name in arguments:
            importlib.import_module(f"bpflens.cli.{name}").add_to(inner)
    return top


def run(arguments: list[str]) -> int:
    """Run one command. Never raises for what the command line, the kernel or stdout says."""
    status = 0
    try:
        status = _parsed(arguments)
        flush()
        return status
    except OSError as error:
        return unwritable(error, said=status != 0)


def flush() -> None:
    """Write out what is in the buffer of stdout, unless the caller closed that."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _parsed(arguments: list[str]) -> int:
    try:
        words = bind_sort(arguments)
        options = parser(words).parse_args(words)
        if getattr(options, "version", False):
            from bpflens.cli import main

            return main(["--version"])
        if options.command is None:
            from bpflens.cli.overview import show

            options.run = show
        return _run(options)
    except SystemExit as stop:  # argparse: help (0) or usage (2)
        return stop.code if isinstance(stop.code, int) else 2


def unwritable(error: OSError, said: bool = False) -> int:
    """The exit status where stdout cannot be written to; says why, but not of a closed pipe."""
    # What is left in the buffer must not be written again when Python ends.
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except OSError:
        pass  # no fd is left, or no /dev/null: then it says twice what is wrong
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if not said:
        closed = error.errno == EBADF and error.filename is None
        complain("standard output is closed" if closed else str(error))
    return 1


def bind_sort(arguments: list[str]) -> list[str]:
    """The arguments with `--sort -key` as `--sort=-key`: argparse takes `-key` for an option."""
    words: list[str] = []
    for word in arguments:
        if words and words[-1] == "--sort" and word.startswith("-") and word[1:2].isalpha():
            words[-1] = f"--sort={word}"
        else:
            words.append(word)
    return words


def _run(options: argparse.Namespace) -> int:
    session: Session | None = None
    try:
        session = Session(options)
        with session:
            status: int = options.run(session)
            flush()
            return status
    except Denied as error:
        complain(str(error))
        remedy = session.guidance(error) if session else ""
        if remedy:
            complain(remedy)
        complain("'bpflens doctor' tells what this user can see here")
        return error.exit_code
    except BpflensError as error:
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(str(error))
        return 1


def complain(words: str) -> None:
    """Words for the person at the terminal."""
    print(f"bpflens: {clean(words)}", file=sys.stderr)
