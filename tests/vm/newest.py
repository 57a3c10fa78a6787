"""Make an object of each kind that is new in Linux 6.19 to 7.2, then run commands beside them.

It runs in a guest. stdin: JSON, name → arguments of a command, in which `{session}` and its like
stand for the IDs of what was made. Each command's output is left in a file of its name; `made.json`
has the IDs and what else is found out while the objects are there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import bpflens
from bpflens import cli
from bpflens.abi.attrs import LinkCreateTracing, LinkCreateTracingMulti, ProgLoad
from bpflens.abi.enums import AttachType, Cmd, MapFlag, MapType, ProgType
from bpflens.abi.infos import LinkInfo, MapInfo, ProgInfo
from bpflens.abi.record import Record
from bpflens.errors import SyscallError
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.builders import RETURN_0, code, load, map, u32, u64
from bpflens.testing.kernel_types import function_id

FUNCTIONS = ("vfs_rmdir", "vfs_mkdir")
ELEMENTS = 300
JUMPS = "r0 = 0; if r0 != 0 goto dead; exit; dead: r0 = 1; exit"
"""Of its five instructions the verifier takes out all after the first `exit`, and the jump."""
LATIN = b"\xe9\x01\x02\x03"
"""A key that is no number and no text."""


class Maker:
    """Makes the objects; what it made stays while its process does."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.ids: dict[str, int] = {}

    def keep(self, name: str, fd: int, record: type[Record]) -> int:
        self.ids[name] = self.calls.info(fd, record).id  # type: ignore[attr-defined]
        return fd

    def traces(self, name: str, attach: AttachType, function: int = 0) -> int:
        attr = ProgLoad(
            prog_type=ProgType.TRACING, expected_attach_type=attach, attach_btf_id=function,
            prog_name=name.encode(),
        )  # fmt: skip
        return self.keep(name, load(self.calls, attr, code(RETURN_0)), ProgInfo)

    def multi(self, name: str, attach: AttachType, functions: list[int], *cookies: int) -> int:
        """A program at many functions."""
        mem = Memory()
        attr = LinkCreateTracingMulti(
            prog_fd=self.traces(name, attach), attach_type=attach, cnt=len(functions),
            ids=mem.pin(bytearray(u32(*functions))),
            cookies=mem.pin(bytearray(u64(*cookies))) if cookies else 0,
        )  # fmt: skip
        link = self.calls.call(Cmd.LINK_CREATE, attr, mem)
        return self.keep(f"{name}_link", link, LinkInfo)

    def session(self, function: int) -> int:
        """A program at the entry to a function and at its return."""
        prog = self.traces("session", AttachType.TRACE_FSESSION, function)
        attr = LinkCreateTracing(prog_fd=prog, attach_type=AttachType.TRACE_FSESSION, cookie=9)
        return self.keep("session_link", self.calls.call(Cmd.LINK_CREATE, attr), LinkInfo)

    def jumps(self) -> None:
        """An array of instructions, and the program of which they are."""
        fd = map(
            self.calls, MapType.INSN_ARRAY, key_size=4, value_size=16, max_entries=4, name="jumps"
        )
        self.keep("jumps", fd, MapInfo)
        for index in range(4):
            self.calls.map_update(fd, u32(index), u32(index, 0, 0, 0))
        self.calls.map_freeze(fd)
        mem = Memory()
        attr = ProgLoad(
            prog_type=ProgType.XDP, prog_name=b"jumper", fd_array_cnt=1,
            fd_array=mem.pin(bytearray(u32(fd))),
        )  # fmt: skip
        self.keep("jumper", load(self.calls, attr, code(JUMPS), mem=mem), ProgInfo)

    def grows(self) -> None:
        """A hash whose buckets become more as it is filled."""
        fd = map(
            self.calls, MapType.RHASH, key_size=4, value_size=8, max_entries=10_000,
            flags=MapFlag.NO_PREALLOC, name="grows",
        )  # fmt: skip
        self.keep("grows", fd, MapInfo)
        for key in range(ELEMENTS):
            self.calls.map_update(fd, u32(key), u64(key * key))
        self.calls.map_update(fd, LATIN, u64(0))


def errno_of(calls: Calls, link: int) -> int:
    """Why a link is not detached; 0 where it is."""
    try:
        calls.link_detach(link)
    except SyscallError as error:
        return error.errno or 0
    return 0


def output(command: list[str]) -> str:
    """What a command prints. Of bpflens in this process: a guest starts Python in seconds."""
    if command[0] != "bpflens":
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout
    with redirect_stdout(StringIO()) as out, redirect_stderr(out):
        cli.main(command[1:])
    return out.getvalue()


def main() -> None:
    commands: dict[str, list[str]] = json.load(sys.stdin)
    with bpflens.open() as system:
        maker = Maker(system.calls)
        ids = [function_id(system.calls, name) for name in FUNCTIONS]
        detached = errno_of(
            system.calls, maker.multi("entry", AttachType.TRACE_FENTRY_MULTI, ids, 7, 8)
        )
        maker.multi("exits", AttachType.TRACE_FEXIT_MULTI, ids[:1])
        maker.multi("both", AttachType.TRACE_FSESSION_MULTI, ids, 1 << 60, 0)
        maker.session(ids[1])
        maker.jumps()
        maker.grows()
        for name, words in commands.items():
            Path(name).write_text(output([word.format(**maker.ids) for word in words]))
        told = {"ids": maker.ids, "functions": ids, "detached": detached}
        Path("made.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
