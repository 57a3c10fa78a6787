"""Every error that bpflens raises on purpose.

::

    BpflensError                     exit status 1
    ├── UsageError                   2  what was asked for does not make sense
    ├── NotFound                     3  no such object, name, tag, path or key
    ├── Denied                       4  the kernel said no: what would be needed
    ├── Unsupported                  5  this kernel or this map type cannot do it
    ├── Refused                      1  a change that the kernel, or a condition, did not let happen
    ├── SyscallError (OSError)       1  a call failed in a way that none of the above says
    ├── FormatError (ValueError)     1  bytes from outside are not what they claim to be
    ├── Limited                      1  a limit of ours (`bpflens.limits`) ended a read
    └── CassetteMiss                 1  a recording does not hold the answer to what was asked

Doors (`bpflens.port`) raise plain `OSError`; `bpflens.port.calls` translates it, once.
"""

from __future__ import annotations

import os


class BpflensError(Exception):
    """The root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(BpflensError):
    """What was asked for does not make sense."""

    exit_code = 2


class NotFound(BpflensError):
    """No such object, name, tag, path or key."""

    exit_code = 3


class Denied(BpflensError):
    """The kernel refused; `needs` says what would be needed (a capability, as a rule)."""

    exit_code = 4
    needs: str = ""

    def __init__(self, message: str, needs: str = "") -> None:
        super().__init__(message)
        self.needs = needs


class Unsupported(BpflensError):
    """This kernel, or this kind of object, cannot do what was asked."""

    exit_code = 5


class Refused(BpflensError):
    """A change did not happen: what it was meant for is as it was."""


class SyscallError(BpflensError, OSError):
    """A call failed: `errno` as the kernel gave it, `call` is what was tried."""

    def __init__(self, errno: int, call: str) -> None:
        OSError.__init__(self, errno, strerror(errno))
        self.call = call

    def __str__(self) -> str:
        return f"{self.call}: {self.strerror}"


class FormatError(BpflensError, ValueError):
    """Bytes from outside are not what they claim to be; `offset` is where, in bytes."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(f"{what} (at byte {offset})")
        self.what = what
        self.offset = offset


class Limited(BpflensError):
    """A limit of ours (`bpflens.limits`) ended a read: what is beyond was not looked at."""


class TooLarge(Limited, FormatError):
    """The same of bytes from outside, which may be what they claim to be; `offset` is where."""


class CassetteMiss(BpflensError):
    """A recording does not hold the answer to what was asked."""


ENOTSUPP = 524
"""The kernel's own "not supported" (include/linux/errno.h); libc has no name for it."""


def strerror(errno: int) -> str:
    """The words for an errno, also for the one that the kernel leaks and libc does not know."""
    return "Operation not supported (ENOTSUPP)" if errno == ENOTSUPP else os.strerror(errno)
