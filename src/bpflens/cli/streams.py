"""The standard streams of a process whose caller closed some of them."""

from __future__ import annotations

import os
import sys


def open_closed() -> None:
    """Put something in place of the standard streams that the caller closed.

    Their numbers must not become those of an object's fd; nor may words for stderr go to stdout,
    as print() has it where there is no stderr. Raises OSError.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            if name == "stderr":
                fd = os.open(os.devnull, os.O_WRONLY)
            else:  # what is printed must not be taken for written
                fd = os.open(os.devnull, os.O_RDONLY)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
