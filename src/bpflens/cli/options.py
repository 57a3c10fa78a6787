"""The options that commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from bpflens.connect import KERNELS
from bpflens.errors import UsageError
from bpflens.model.parts import Part
from bpflens.present.columns import Column, Noun
from bpflens.present.text import clean
from bpflens.snapshot.take import LIST_PARTS

if TYPE_CHECKING:
    from bpflens.cli.session import Session

    Verbs = argparse._SubParsersAction[Any]


class Help(argparse.RawDescriptionHelpFormatter):
    """Asks for the terminal's width itself. argparse makes one of these with each parser, and has
    shutil imported for the width, which imports three compressors: 4 ms of every start."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        try:
            width = int(columns) if columns.isdecimal() else os.get_terminal_size(1).columns
        except OSError:
            width = 0
        super().__init__(prog, width=(width or 80) - 2)


class Parser(argparse.ArgumentParser):
    """A parser with that help, which takes options by their whole names alone; so are the parsers
    of its commands and verbs. What it says of arguments is safe to show."""

    noun: Noun | None = None
    """What its verb shows: the help ends with what the columns of that may be."""

    def __init__(self, prog: str | None = None, **options: Any) -> None:
        settled: dict[str, Any] = {"formatter_class": Help, "allow_abbrev": False}
        super().__init__(prog, **settled | options)
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse has it; what abbreviates an option of this parser is an error here, where
        it is known of which."""
        self._words = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(self._words, namespace)
        if any(map(self._meant, rest)):
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """End with usage and these words on stderr."""
        for word in self._words:
            if word == "--":
                break
            if meant := self._meant(word):
                message += f"; {word.partition('=')[0]} is no option: write {' or '.join(meant)}"
                break
        super().error(clean(message))

    def _meant(self, word: str) -> list[str]:
        """The options that a word may abbreviate; none where it is one itself."""
        name = word.partition("=")[0]
        known = self._option_string_actions
        if len(name) < 3 or not name.startswith("--") or name in known:
            return []
        return [option for option in known if option.startswith(name)]

    def format_help(self) -> str:
        told = super().format_help()
        for column in self.noun.columns if self.noun else ():
            if column.names:
                told += f"\n{names_help(column)}\n"
        return told


def common_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command, before or after its name.

    Their defaults are not set but supplied where they are read (`Session`): argparse would let
    the default of the inner parser overwrite what stands before the command.
    """
    group = parser.add_argument_group("kernel and output", argument_default=argparse.SUPPRESS)
    group.add_argument("--on", metavar="KERNEL", help=KERNELS)
    form = group.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json",
                      help="one JSON document")  # fmt: skip
    form.add_argument("--jsonl", dest="form", action="store_const", const="jsonl",
                      help="a JSON object a line")  # fmt: skip
    form.add_argument("--csv", dest="form", action="store_const", const="csv",
                      help="comma-separated values with a header")  # fmt: skip
    group.add_argument("--trace", action="store_true",
                       help="print the system calls, decoded, on stderr")  # fmt: skip
    group.add_argument("--record", metavar="FILE",
                       help="keep the kernel's answers in a recording")  # fmt: skip


def list_options(parser: argparse.ArgumentParser, noun: Noun, default: Part = LIST_PARTS) -> None:
    """Options of commands that show records of a kind."""
    group = parser.add_argument_group("choice")
    group.add_argument("--columns", metavar="A,B", help="show these columns, in this order")
    group.add_argument("--where", metavar="CONDITION",
                       help="only those of which this holds: 'run_cnt > 9'")  # fmt: skip
    for column in noun.columns:
        if column.names:
            group.add_argument(f"--{column.key.replace('_', '-')}", metavar="NAME",
                               choices=Names(column),
                               help=f"only those with this {column.key}, listed below")  # fmt: skip
    group.add_argument("--sort", metavar="A,-B", help="by these columns; - before one: descending")
    group.add_argument("--limit", metavar="N", type=count, help="the first N")
    if noun.parts:
        group.add_argument("--parts", metavar="P,Q", default=None,
                           help=f"what to read: {part_names()}, all "
                           f"(default: {part_names(default)})")  # fmt: skip


def add_verb(
    verbs: Verbs, name: str, words: str, noun: Noun | None, run: Callable[[Session], int],
    default: Part = LIST_PARTS,
) -> argparse.ArgumentParser:  # fmt: skip
    """A verb; where it shows records of a kind, with the options and the help for it."""
    parser: Parser = verbs.add_parser(name, help=words, description=words)
    if noun is not None:
        list_options(parser, noun, default)
        parser.epilog = columns_help(noun)
        parser.noun = noun
    common_options(parser)
    parser.set_defaults(run=run)
    return parser


class Names:
    """What may be given for a column: what its values are called. Read when it is asked for."""

    def __init__(self, column: Column) -> None:
        self._column = column

    def __iter__(self) -> Iterator[str]:
        return iter(self._column.known_names())

    def __contains__(self, name: str) -> bool:
        # A newer kernel's type is shown as `unknown_36`; the hook of a place may be a mode.
        known = name.startswith("unknown_") or name in tuple(self)
        return known or self._column.key == "attach_type"


def columns_help(noun: Noun) -> str:
    """The columns of a kind of record, for the end of a help text."""
    room = max(len(c.key) for c in noun.columns)
    rows = [
        f"  {c.key.ljust(room)}  {c.help}{f' (Linux {c.since})' if c.since else ''}"
        for c in noun.columns
    ]
    return "\n".join(["columns:", *rows])


def names_help(column: Column) -> str:
    """What a column may be, by the Linux version that first had it, the newest first."""
    import textwrap  # for a help text alone

    names = column.known_names()
    versions: dict[str, list[str]] = {}
    for name, since in names.items():
        versions.setdefault(since, []).append(name)
    newest = sorted(versions, key=lambda text: [int(n) for n in text.split(".") if n], reverse=True)
    lines = [f"{column.key}:"]
    for since in newest:
        words = textwrap.wrap(", ".join(versions[since]), 60)
        lines += [f"  {f'Linux {since}' if since else '':<11} {words[0]}"]
        lines += [f"  {'':<11} {line}" for line in words[1:]]
    return "\n".join(lines)


def count(text: str) -> int:
    """A number that is not negative."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return min(value, sys.maxsize)


def seconds(text: str) -> float:
    """A time that is not negative."""
    value = float(text)
    if not value >= 0:  # NaN is neither
        raise ValueError(text)
    return value


count.__name__ = seconds.__name__ = "number"  # argparse names the type in its message


def part_names(parts: Part | None = None) -> str:
    """The names of parts, as `--parts` takes them."""
    return ",".join(str(p.name).lower() for p in Part if parts is None or p in parts)


def parts_of(text: str | None, default: Part) -> Part:
    """The parts that a comma-separated list names. Raises UsageError."""
    if text is None:
        return default
    parts = Part(0)
    for name in filter(None, (word.strip().lower() for word in text.split(","))):
        if name == "all":
            parts |= ~Part(0)
        elif name.upper() in Part.__members__:
            parts |= Part[name.upper()]
        else:
            raise UsageError(f"there is no part {name!r}; there are: {part_names()}, all")
    return parts
