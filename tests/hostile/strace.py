"""strace(1) of a command: what it opened, by which call, and how many calls it made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.hostile.lens import COMMAND, Ran, run

_LINE = re.compile(
    r"^(?P<pid>\d+) +(?:open|openat|openat2|creat)"
    r"\((?P<arguments>.*?)(?:\) += (?P<result>.*))?$"
)
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")
_UNFINISHED = "<unfinished ...>"
_CALL = re.compile(r"^\d+ +(?:<\.\.\. )?\w+")


class Opened(NamedTuple):
    """An open of a file."""

    pid: int
    arguments: str
    result: str
    """With the path that it led to; empty where it has not ended."""

    @property
    def by_path(self) -> bool:
        """By O_PATH: nothing is opened."""
        return "O_PATH" in self.arguments

    @property
    def path(self) -> str:
        """The path that was asked for."""
        found = re.search(r'"((?:[^"\\]|\\.)*)"', self.arguments)
        return found[1] if found else ""

    @property
    def file(self) -> str:
        """Where it led to, as /proc/PID/fd tells; empty where it failed."""
        found = re.match(r"\d+<(.*)>", self.result)
        return found[1] if found else ""


class Trace(NamedTuple):
    """What was traced."""

    ran: Ran
    opened: list[Opened]
    calls: int


def traced(*arguments: str, to: str) -> Trace:
    """Run a command under strace, which writes to a file."""
    command = ("strace", "-f", "-y", "-qq", "-s", "4096", "-o", to, *COMMAND)
    ran = run(*arguments, command=command)
    with open(to, errors="surrogateescape") as file:
        lines = file.read().splitlines()
    os.unlink(to)
    calls = sum(1 for line in lines if _CALL.match(line) and " resumed>" not in line)
    return Trace(ran, list(_opens(lines)), calls)


def _opens(lines: list[str]) -> Iterator[Opened]:
    begun: dict[str, str] = {}
    for line in lines:
        if resumed := _RESUMED.match(line):
            line = begun.pop(resumed["pid"], "") + resumed["rest"]
        elif line.endswith(_UNFINISHED):
            begun[line.partition(" ")[0]] = line.removesuffix(_UNFINISHED)
            continue
        if found := _LINE.match(line):
            yield Opened(int(found["pid"]), found["arguments"], found["result"] or "")
    for line in begun.values():
        if found := _LINE.match(line + ") = "):
            yield Opened(int(found["pid"]), found["arguments"], "")
