"""One call of bpf(2) on its way through the engine, and the table of who answers which command."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from bpflens.abi.record import Record
from bpflens.errors import strerror

if TYPE_CHECKING:
    from bpflens.engine.engine import Engine
    from bpflens.engine.tasks import Task
    from bpflens.port.memory import Memory

U32 = struct.Struct("=I")
U64 = struct.Struct("=Q")


def err(code: int) -> OSError:
    """The error to raise for a call that fails with errno `code`."""
    return OSError(code, strerror(code))


class Call:
    """The caller, its memory, and where its attr lies."""

    __slots__ = ("at", "engine", "mem", "raw", "size", "task")

    def __init__(
        self, engine: Engine, task: Task, mem: Memory, at: int, size: int, raw: bytes
    ) -> None:
        self.engine = engine
        self.task = task
        self.mem = mem
        self.at = at
        """Address of the caller's attr."""
        self.size = size
        """Bytes of the attr that the caller says it has; answers are mostly written regardless."""
        self.raw = raw
        """The attr as copied in, at least as long as the command's record."""

    def put_u32(self, offset: int, value: int) -> None:
        """Write a u32 into the caller's attr. put_user() through uattr: `size` does not matter."""
        self.mem.write(self.at + offset, U32.pack(value))

    def put_u64(self, offset: int, value: int) -> None:
        """Write a u64 into the caller's attr."""
        self.mem.write(self.at + offset, U64.pack(value))


Handler: TypeAlias = Callable[[Call, Any], int]


class Command:
    """How a command is read and who answers it."""

    __slots__ = ("checked", "end", "handler", "record")

    def __init__(self, record: type[Record], handler: Handler, end: int, checked: bool) -> None:
        self.record = record
        self.handler = handler
        self.end = end
        """Just past the last field: what the caller gives beyond must be zero (CHECK_ATTR())."""
        self.checked = checked
        """Whether that rule comes first; PROG_QUERY looks at capabilities before."""


COMMANDS: dict[int, Command] = {}
"""Command number → how to answer it; filled by `command` where the families stand."""


def command(
    cmd: int, record: type[Record], *, end: int = 0, checked: bool = True
) -> Callable[[Handler], Handler]:
    """Register the decorated function as the answer to `cmd`."""

    def register(handler: Handler) -> Handler:
        COMMANDS[cmd] = Command(record, handler, end or record.__size__, checked)
        return handler

    return register
