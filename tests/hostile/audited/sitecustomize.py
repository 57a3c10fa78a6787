"""Writes down each file that Python opens in this process and in those that it starts.

Python imports it at its start where PYTHONPATH has its folder, and $BPFLENS_AUDIT names a file.
"""

import os
import sys

_path = os.environ.get("BPFLENS_AUDIT")


def _install(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in ("open", "os.listdir", "os.scandir"):
            return
        name, *rest = arguments
        flags = rest[1] if len(rest) > 1 and isinstance(rest[1], int) else 0
        if not flags & os.O_PATH:
            os.write(log, f"{os.getpid()} {event} {name!r}\n".encode(errors="replace"))

    sys.addaudithook(hook)


if _path:
    _install(_path)
