"""`Session`: what one run of the command line holds: options, kernel, output."""

from __future__ import annotations

import argparse
import os
import sys
from errno import EBADF, EMFILE
from types import TracebackType
from typing import TYPE_CHECKING

from bpflens import __version__, connect
from bpflens.errors import BpflensError, Denied, UsageError
from bpflens.model.system import System
from bpflens.present.text import clean

if TYPE_CHECKING:
    from bpflens.port.cassette import Recorder

FILES = 8
"""Files that a look at the live kernel may have open at once, besides those that came with us: a
namespace to return to and the folder of one to enter, what asks for it, an object, its fdinfo."""


class Session:
    """One run. `system` is opened, wrapped as the options say, and closed with the session."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.form: str = getattr(options, "form", "text")
        self.recorder: Recorder | None = None
        settle_output()
        if options.command != "record":  # which writes to a file
            check_output()
        self.system = self._open()

    def _open(self) -> System:
        record = getattr(self.options, "record", None)
        if self.options.command == "record" and record:
            raise UsageError("give one file: record FILE, or --record FILE with another command")
        if record == "":
            raise UsageError("--record takes the name of a file")
        if record == "-":
            raise UsageError(
                "--record -: standard output is for what the command prints; 'record -' writes a "
                "recording there"
            )
        on = getattr(self.options, "on", "linux")
        if on == "linux":
            check_files()
        doors = connect.doors(on)
        if record or self.options.command == "record":
            from bpflens.port.cassette import Recorder

            self.recorder = Recorder(doors)
            doors = self.recorder.doors
        if getattr(self.options, "trace", False):
            from bpflens.port.tracer import traced

            doors = traced(doors, lambda line: print(clean(line), file=sys.stderr))
        system = System(doors)
        system.index_dir = cache_dir()
        return system

    def save(self, path: str) -> None:
        """Write what was recorded."""
        if self.recorder is not None:
            from bpflens.model import kallsyms
            from bpflens.snapshot.take import release

            if self.system.symbols_asked is not None:
                self.recorder.shorten(kallsyms.PATH, self.system.symbols_asked)
            kernel = release(self.system)
            sys.stdout.flush()  # /dev/stdout: what was printed comes first
            self.recorder.save(path, {"kernel": kernel, "bpflens": __version__})

    def guidance(self, error: Denied) -> str:
        """What would help against a refusal."""
        from bpflens.snapshot.access import guidance

        return guidance(self.system, error)

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where output goes elsewhere and nothing may be cut."""
        if not sys.stdout.isatty():
            return None
        told = os.environ.get("COLUMNS", "")
        if told.isdecimal() and int(told):
            return int(told)
        return os.get_terminal_size(sys.stdout.fileno()).columns or None  # 0: it was never told

    @property
    def bold(self) -> bool:
        """Whether headers may be bold."""
        return (
            sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")
            and (os.environ.get("TERM", "dumb") != "dumb")
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Also after an error: what led to it is what a bug report needs.
        path = getattr(self.options, "record", None)
        if path:
            self.save(path)
        self.system.close()


def cache_dir() -> str | None:
    """Where to keep what can be made again (XDG Base Directory Specification), if anywhere.

    Not in the home of another user, which sudo may leave in the environment: what root made there
    its owner could not replace.
    """
    home = os.environ.get("HOME", "")
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(home, ".cache")
    for path in (base, home):
        try:
            ours = os.path.isabs(path) and os.stat(path).st_uid == os.geteuid()
        except OSError:
            continue  # the first command makes it
        return os.path.join(base, "bpflens") if ours else None
    return None


def settle_output() -> None:
    """Make stdout and stderr able to write any text.

    Python takes UTF-8 under LANG=C too (PEP 538, 540), where the terminal is not told so: there,
    what is not ASCII is written as an escape.
    """
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "C")
    plain = locale in ("C", "POSIX")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            if plain:
                reconfigure(encoding="ascii", errors="backslashreplace")
            else:
                reconfigure(errors="backslashreplace")


def check_output() -> None:
    """Raises BpflensError where stdout was closed: no change is made that cannot be told."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return  # a stream of a caller in this process
    try:
        os.write(number, b"")  # vfs_write() asks for FMODE_WRITE before it looks at the length
    except OSError as error:
        if error.errno == EBADF:
            raise BpflensError("standard output is closed") from error


def check_files() -> None:
    """Raises BpflensError where fewer files can be opened than a look needs; what could not be
    opened for want of fds would be missing from it, or seem to be of another kind."""
    if _room():
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not _room():
        raise BpflensError(
            f"too few files can be open at once: {soft} (ulimit -n), and bpflens needs {FILES} "
            "besides those that it was given"
        )


def _room() -> bool:
    held: list[int] = []
    try:
        while len(held) < FILES:
            held.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != EMFILE:
            raise
        return False
    finally:
        for fd in held:
            os.close(fd)
    return True
