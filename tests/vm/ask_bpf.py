"""Ask a kernel what it tells of a program, a map, a link and a BTF object; print that as JSON.

It needs root on x86-64, a kernel since 5.8, and nothing of bpflens. Called with a path on a bpffs
it pins the program there; else it leaves nothing behind.
"""

import ctypes
import errno
import json
import os
import struct
import sys
from collections.abc import Iterator

SYS_BPF = 321
MAP_CREATE, PROG_LOAD, OBJ_PIN, PROG_GET_NEXT_ID = 0, 5, 6, 11
GET_INFO_BY_FD, RAW_TRACEPOINT_OPEN, BTF_GET_FD_BY_ID, BTF_GET_NEXT_ID = 15, 17, 19, 23
MAP_TYPE_ARRAY, PROG_TYPE_RAW_TRACEPOINT = 2, 17

R0_IS_0_EXIT = bytes.fromhex("b700000000000000 9500000000000000")

syscall = ctypes.CDLL(None, use_errno=True).syscall


def bpf(command: int, layout: str, *fields: int | ctypes.Array[ctypes.c_char]) -> tuple[int, bytes]:
    """The result of bpf(2), and attr as the kernel left it."""
    numbers = [f if isinstance(f, int) else ctypes.addressof(f) for f in fields]
    attr = ctypes.create_string_buffer(struct.pack(f"={layout}", *numbers), 256)
    result = syscall(SYS_BPF, command, attr, 256)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf command {command}: {os.strerror(error)}")
    return result, attr.raw


def info(fd: int) -> bytes:
    """What the kernel tells: as many bytes as it says, out of many that it could have written."""
    buffer = ctypes.create_string_buffer(1024)
    _, attr = bpf(GET_INFO_BY_FD, "IIQ", fd, len(buffer), buffer)
    return buffer.raw[: struct.unpack_from("=I", attr, 4)[0]]


def walk(command: int) -> Iterator[int]:
    """All IDs that a `*_GET_NEXT_ID` tells."""
    id = 0
    while True:
        try:
            _, attr = bpf(command, "I", id)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        id = struct.unpack_from("=I", attr, 4)[0]
        yield id


def main() -> None:
    code, license, event, path = map(
        ctypes.create_string_buffer,
        (R0_IS_0_EXIT, b"GPL", b"sched_process_exit", os.fsencode("".join(sys.argv[1:]))),
    )
    prog, _ = bpf(PROG_LOAD, "IIQQ", PROG_TYPE_RAW_TRACEPOINT, 2, code, license)
    link, _ = bpf(RAW_TRACEPOINT_OPEN, "QI", event, prog)
    map_, _ = bpf(MAP_CREATE, "IIII", MAP_TYPE_ARRAY, 4, 8, 1)
    btf, _ = bpf(BTF_GET_FD_BY_ID, "I", next(walk(BTF_GET_NEXT_ID)))
    if path.value:
        bpf(OBJ_PIN, "QI", path, prog)
    objects = {"prog": prog, "map": map_, "link": link, "btf": btf}
    answers = {
        "release": os.uname().release,
        "info_len": {kind: len(info(fd)) for kind, fd in objects.items()},
        "prog_id": struct.unpack_from("=I", info(prog), 4)[0],
        "prog_ids": list(walk(PROG_GET_NEXT_ID)),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
