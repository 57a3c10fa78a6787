"""The file of a recording (`port.cassette`): read line by line, checked, within limits.

It comes from anywhere. Whatever is in it, it is a recording or a FormatError with the line, and
takes no more memory than the limits here say.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from bpflens import limits
from bpflens.errors import FormatError, Unsupported

FORMAT = "bpflens-cassette/1"

Answer = dict[str, Any]

MAX_HEAD = 1 << 16
PLAIN = 1 << 25
"""Bytes of text that are kept as they are; what comes after them is packed again."""
_SHORT = 128
_MAX_ERRNO = 4095
"""As the kernel has it (include/linux/err.h)."""
_OUTCOMES = frozenset({"value", "errno", "fd", "refused"})


class Entry(NamedTuple):
    """One request with its answers: the number of its line, and the line, perhaps packed."""

    line: int
    text: bytes

    @property
    def answers(self) -> list[Answer]:
        """What was answered, in order."""
        packed = self.text[:1] == b"x"  # as zlib begins (RFC 1950); JSON does not
        whole = json.loads(zlib.decompress(self.text) if packed else self.text)
        found: list[Answer] = whole["answers"]
        return found


def load(path: str) -> dict[str, Entry]:
    """The answers of a recording, by request. Raises OSError, FormatError."""
    entries: dict[str, Entry] = {}
    size = 0
    number = 0
    for number, line in enumerate(_lines(path), 1):
        try:
            if (
                line.count(b",") + line.count(b"[") + line.count(b"{")
                > limits.RECORDING_PARTS.value
            ):
                raise ValueError(str(limits.RECORDING_PARTS))
            found = json.loads(line)
            if number > 1:
                key = _key(found)
                if key in entries:
                    raise ValueError("it repeats a request")
                packed = size + len(line) > PLAIN and len(line) > _SHORT
                entries[key] = Entry(number, zlib.compress(line, 1) if packed else line)
            elif not isinstance(found, dict) or "format" not in found:
                raise ValueError("it has no head")
            elif found["format"] != FORMAT:
                raise FormatError(f"{path} is a recording of another format, or damaged", 0)
        except (ValueError, RecursionError) as error:
            if isinstance(error, FormatError):
                raise
            raise damaged(path, number, error, size) from error
        size += len(line)
    if not number:
        raise FormatError(f"{path} is empty", 0)
    return entries


def check(lines: list[bytes]) -> None:
    """Raises Unsupported for lines of which `load` would make no recording."""
    line, text = limits.RECORDING_LINE_BYTES.value, limits.RECORDING_BYTES.value
    if sum(map(len, lines)) > text or max(map(len, lines)) > line:
        most = f"{line} bytes an answer, {text} in all"
        raise Unsupported(f"this is more than a recording holds ({most}): give --elements a limit")


def damaged(path: str, line: int, why: object, offset: int = 0) -> FormatError:
    """The error of a file that is no recording, or no longer: where, and why."""
    what = "is damaged" if line > 1 else "is no recording of bpflens, or damaged"
    return FormatError(f"{path} {what}: line {line}: {why}", offset)


def _lines(path: str) -> Iterator[bytes]:
    """The lines of a file, unpacked. Raises OSError, FormatError."""
    size = number = 0
    with _opened(path) as file:
        while True:
            number += 1
            most = limits.RECORDING_LINE_BYTES.value if number > 1 else MAX_HEAD
            try:
                line = file.readline(most + 1)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise damaged(path, number, f"it is cut short or damaged: {error}", size) from error
            if not line:
                return
            if len(line) > most:
                raise damaged(path, number, f"it has more than {most} bytes", size)
            size += len(line)
            if size > limits.RECORDING_BYTES.value:
                raise damaged(path, number, limits.RECORDING_BYTES, size)
            yield line


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with open(path, "rb") as file:
        if file.peek(2)[:2] == b"\x1f\x8b":
            with io.BufferedReader(gzip.GzipFile(fileobj=file)) as unpacked:
                yield unpacked
        else:
            yield file


def _key(entry: object) -> str:
    """What was asked. Raises ValueError where it is no request with its answers."""
    if not isinstance(entry, dict):
        raise ValueError("it is no request")
    key, asked, answers = map(entry.get, ("key", "ask", "answers"))
    if not isinstance(key, str) or not isinstance(asked, str):
        raise ValueError("it does not say what was asked")
    if not isinstance(answers, list):
        raise ValueError("it has no answers")
    for answer in answers:
        if not isinstance(answer, dict):
            raise ValueError("one of its answers is none")
        _check_answer(answer)
    return key


def _check_answer(answer: Answer) -> None:
    if len(_OUTCOMES & answer.keys()) != 1:
        raise ValueError("one of its answers does not say how the call ended")
    if "errno" in answer:
        code = answer["errno"]
        if type(code) is not int or not 0 < code <= _MAX_ERRNO:
            raise ValueError("one of its answers has an errno that there is not")
    for word in ("fd", "refused"):
        if not isinstance(answer.get(word, ""), str):
            raise ValueError(f"one of its answers has a {word} that is no text")
    times = answer.get("times", 1)
    if type(times) is not int or times < 1:
        raise ValueError("one of its answers was given no number of times")
    if "out" in answer:
        _check_out(answer["out"])


def _check_out(out: object) -> None:
    """What a call wrote: of each buffer, runs of (offset, hex)."""
    if not isinstance(out, list) or not all(isinstance(runs, list) for runs in out):
        raise ValueError("one of its answers does not say what was written")
    for run in (run for runs in out for run in runs):
        if not isinstance(run, list) or list(map(type, run)) != [int, str] or run[0] < 0:
            raise ValueError("one of its answers does not say what was written where")
