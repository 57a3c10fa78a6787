"""Runs the command line on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios

UNWANTED = {"LC_ALL", "LC_CTYPE", "NO_COLOR", "COLUMNS", "PYTHONUNBUFFERED"}
"""What this process may have been given that would change what the other does."""

BPFLENS = [sys.executable, "-m", "bpflens"]


def on_terminal(*words: str, columns: int = 80, both: bool = False, **environment: str) -> str:
    """What bpflens writes to a terminal of this width, or what it says there beside it too."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in UNWANTED}
    env |= {"TERM": "xterm", "LC_ALL": "C.UTF-8"} | environment
    err = slave if both else subprocess.DEVNULL
    with subprocess.Popen([*BPFLENS, *words], stdout=slave, stderr=err, env=env):
        os.close(slave)
        data = b""
        try:
            while chunk := os.read(master, 1 << 16):
                data += chunk
        except OSError:  # EIO: the last writer is gone
            pass
        os.close(master)
    return data.decode().replace("\r\n", "\n")
