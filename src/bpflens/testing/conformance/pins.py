"""OBJ_PIN and OBJ_GET: objects by path in a bpffs."""

from __future__ import annotations

import errno
from typing import Any

from bpflens.abi.attrs import ObjPath
from bpflens.abi.enums import Cmd, MapType
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import BtfInfo, LinkInfo, MapInfo, ProgInfo
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import TRACEPOINT, Bench, eventually
from bpflens.testing.builders import btf, map, program, u32, u64
from bpflens.testing.conformance.ids import make, walk
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, fails, same

PINNED: dict[str, Any] = {"prog": ProgInfo, "map": MapInfo, "link": LinkInfo}


def place(calls: Calls, cmd: Cmd, path: str, **fields: int) -> int:
    """OBJ_PIN or OBJ_GET with any fields."""
    mem = Memory()
    attr = ObjPath(pathname=mem.pin(bytearray(path.encode() + b"\0")), **fields)
    return calls.call(cmd, attr, mem)


@cases(**{kind: kind for kind in PINNED})
def check_pin(bench: Bench, kind: str) -> None:
    """Programs, maps and links are pinned, and got again as the same object."""
    path = f"{bench.bpffs()}/it"
    fd, id = make(bench.calls, kind)
    bench.calls.obj_pin(fd, path)
    again = bench.calls.obj_get(path)
    assert again != fd
    same(bench.calls.info(again, PINNED[kind]).id, id)


@cases(**{kind: kind for kind in PINNED})
def check_pin_keeps(bench: Bench, kind: str) -> None:
    """What is pinned lives without any fd, until the pin is removed."""
    path = f"{bench.bpffs()}/it"
    fd, id = make(bench.calls, kind)
    bench.calls.obj_pin(fd, path)
    bench.calls.close(fd)
    assert id in walk(bench.calls, kind, id - 1)
    bench.unlink(path)
    eventually(lambda: id not in walk(bench.calls, kind, id - 1), "it went with its pin")


def check_pin_several_times(bench: Bench) -> None:
    """An object can be pinned at several paths; a path holds one (EEXIST)."""
    folder, fd = bench.bpffs(), map(bench.calls)
    for name in ("a", "b"):
        bench.calls.obj_pin(fd, f"{folder}/{name}")
    fails(errno.EEXIST, bench.calls.obj_pin, fd, f"{folder}/a")
    fails(errno.EEXIST, bench.calls.obj_pin, program(bench.calls), f"{folder}/a")


def check_pins_are_listed(bench: Bench) -> None:
    """Pins are files in the folder."""
    folder, fd = bench.bpffs(), map(bench.calls)
    for name in ("b", "a"):
        bench.calls.obj_pin(fd, f"{folder}/{name}")
    found = [name for name, is_folder in bench.doors.host.listdir(folder) if not is_folder]
    assert {"a", "b"} <= set(found)


def check_what_cannot_be_pinned(bench: Bench) -> None:
    """BTF, other files and closed fds cannot be pinned: all EINVAL."""
    folder = bench.bpffs()
    for fd in (btf(bench.calls), bench.plain_file(), CLOSED):
        fails(errno.EINVAL, bench.calls.obj_pin, fd, f"{folder}/x")


@cases(dot="a.b", first=".a", last="a.")
def check_dots(bench: Bench, name: str) -> None:
    """Names with a dot are kept for later use (EPERM)."""
    fails(errno.EPERM, bench.calls.obj_pin, map(bench.calls), f"{bench.bpffs()}/{name}")


@cases(space="a b", dash="a-b", long="x" * 255)
def check_names(bench: Bench, name: str) -> None:
    """Other names are as for any file."""
    path = f"{bench.bpffs()}/{name}"
    bench.calls.obj_pin(map(bench.calls), path)
    bench.calls.obj_get(path)


def check_name_too_long(bench: Bench) -> None:
    """A name of more than 255 bytes is ENAMETOOLONG."""
    fails(errno.ENAMETOOLONG, bench.calls.obj_pin, map(bench.calls), f"{bench.bpffs()}/{'x' * 256}")


def check_no_such_folder(bench: Bench) -> None:
    """A folder that is not there is ENOENT, for pin and get."""
    path = f"{bench.bpffs()}/none/x"
    fails(errno.ENOENT, bench.calls.obj_pin, map(bench.calls), path)
    fails(errno.ENOENT, bench.calls.obj_get, path)


def check_nothing_pinned(bench: Bench) -> None:
    """Where nothing is pinned, nothing is got (ENOENT)."""
    fails(errno.ENOENT, bench.calls.obj_get, f"{bench.bpffs()}/x")


def check_folder_is_no_object(bench: Bench) -> None:
    """A folder is no object (EACCES)."""
    fails(errno.EACCES, bench.calls.obj_get, bench.bpffs())


def check_outside_of_bpffs(bench: Bench) -> None:
    """Objects are pinned in a bpffs only (EPERM)."""
    fails(errno.EPERM, bench.calls.obj_pin, map(bench.calls), "/run/bpflens_check")


def check_bad_path(calls: Calls) -> None:
    """A path that cannot be read is EFAULT."""
    for cmd, fd in ((Cmd.OBJ_PIN, map(calls)), (Cmd.OBJ_GET, 0)):
        fails(errno.EFAULT, calls.call, cmd, ObjPath(pathname=BAD, bpf_fd=fd))


def check_empty_path(bench: Bench) -> None:
    """An empty path is ENOENT."""
    fails(errno.ENOENT, bench.calls.obj_pin, map(bench.calls), "")
    fails(errno.ENOENT, bench.calls.obj_get, "")


@cases(
    unknown=({"file_flags": 1}, errno.EINVAL), read=({"file_flags": 8}, errno.EINVAL),
    path_fd=({"path_fd": 1}, errno.EINVAL),
)  # fmt: skip
def check_flags_of_a_pin(bench: Bench, wrong: dict[str, int], code: int) -> None:
    """A pin takes no flag but PATH_FD, and a folder's fd only with it (EINVAL)."""
    path = f"{bench.bpffs()}/x"
    fails(code, place, bench.calls, Cmd.OBJ_PIN, path, bpf_fd=map(bench.calls), **wrong)


@cases(
    fd={"bpf_fd": 1}, both={"file_flags": F.RDONLY | F.WRONLY}, unknown={"file_flags": 1},
    path_fd={"path_fd": 1},
)  # fmt: skip
def check_arguments_of_a_get(bench: Bench, wrong: dict[str, int]) -> None:
    """A get takes no fd and at most one mode (EINVAL)."""
    path = f"{bench.bpffs()}/x"
    bench.calls.obj_pin(map(bench.calls), path)
    fails(errno.EINVAL, place, bench.calls, Cmd.OBJ_GET, path, **wrong)


def check_mode_of_a_get(bench: Bench) -> None:
    """A map can be got for reading or writing alone."""
    path, fd = f"{bench.bpffs()}/x", map(bench.calls)
    bench.calls.obj_pin(fd, path)
    reader, writer = bench.calls.obj_get(path, F.RDONLY), bench.calls.obj_get(path, F.WRONLY)
    fails(errno.EPERM, bench.calls.map_update, reader, u32(0), u64(0))
    fails(errno.EPERM, bench.calls.map_lookup, writer, u32(0), 8)


def check_mode_is_not_pinned(bench: Bench) -> None:
    """What is pinned through an fd for reading is got for reading and writing."""
    path = f"{bench.bpffs()}/x"
    bench.calls.obj_pin(map(bench.calls, MapType.HASH, flags=F.RDONLY), path)
    bench.calls.map_update(bench.calls.obj_get(path), u32(0), u64(0))


def check_mode_of_a_link(bench: Bench) -> None:
    """Links have no mode (EINVAL); programs do not look at it."""
    folder = bench.bpffs()
    link = bench.calls.raw_tracepoint_open(program(bench.calls, type=P.RAW_TRACEPOINT), TRACEPOINT)
    bench.calls.obj_pin(link, f"{folder}/link")
    bench.calls.obj_pin(program(bench.calls), f"{folder}/prog")
    fails(errno.EINVAL, bench.calls.obj_get, f"{folder}/link", F.RDONLY)
    bench.calls.obj_get(f"{folder}/prog", F.RDONLY)


def check_pin_keeps_a_prog_array_full(bench: Bench) -> None:
    """A pin counts as a user: the programs in the array stay."""
    path, fd = f"{bench.bpffs()}/x", map(bench.calls, MapType.PROG_ARRAY)
    prog = program(bench.calls)
    id = bench.calls.info(prog, ProgInfo).id
    bench.calls.map_update(fd, u32(0), u32(prog))
    bench.calls.obj_pin(fd, path)
    bench.calls.close(fd)
    bench.calls.close(prog)
    same(bench.calls.map_lookup(bench.calls.obj_get(path), u32(0), 4), u32(id))


def check_others_may_not_get(bench: Bench) -> None:
    """A pin belongs to who made it: another user may not get it (EACCES)."""
    path = f"{bench.bpffs()}/x"
    bench.calls.obj_pin(map(bench.calls), path)
    fails(errno.EACCES, bench.caller(1000).obj_get, path)


def check_others_may_pin(bench: Bench) -> None:
    """The root of a bpffs is open to every user, as /tmp is."""
    path, user = f"{bench.bpffs()}/x", bench.caller(1000)
    user.obj_pin(map(bench.calls), path)
    user.obj_get(path)


def check_pins_need_no_capability(bench: Bench) -> None:
    """Whom the file system lets, may pin and get without any capability."""
    path = f"{bench.bpffs()}/x"
    nobody = bench.caller(0)
    nobody.obj_pin(map(bench.calls), path)
    nobody.obj_get(path)


def check_root_is_no_owner(bench: Bench) -> None:
    """What another user pinned is not open to root without CAP_DAC_OVERRIDE."""
    path = f"{bench.bpffs()}/x"
    bench.caller(1000).obj_pin(map(bench.calls), path)
    fails(errno.EACCES, bench.caller(0).obj_get, path)
    bench.calls.obj_get(path)


def check_btf_of_a_pinned_map_stays(bench: Bench) -> None:
    """A map keeps its BTF."""
    from bpflens.testing.builders import types

    found = types()
    held = btf(bench.calls)
    id = bench.calls.info(held, BtfInfo).id
    fd = map(bench.calls, MapType.HASH, value_size=4, btf=(held, found.s32, found.s32))
    bench.calls.close(held)
    assert id in walk(bench.calls, "btf", id - 1)
    bench.calls.close(fd)
    eventually(lambda: id not in walk(bench.calls, "btf", id - 1), "the BTF went with its map")
