"""/proc/PID/fdinfo of BPF objects: what bpf(2) itself does not tell.

Lines are `key:\\tvalue` (bpf_prog_show_fdinfo(), bpf_map_show_fdinfo() in kernel/bpf/syscall.c).
"""

from __future__ import annotations


def field(text: bytes, name: bytes) -> bytes | None:
    """The value of one line, or None where this kernel has no such line."""
    at = text.find(b"\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 2
    end = text.find(b"\n", start)
    return text[start : end if end >= 0 else None].strip()


def number(text: bytes, name: bytes) -> int | None:
    """The same as a number (decimal, or hex with 0x); None also for what is not a number."""
    value = field(text, name)
    try:
        return None if value is None else int(value, 0)
    except ValueError:
        return None


_IDS = ((b"link_id", "link"), (b"map_id", "map"), (b"prog_id", "program"), (b"btf_id", "btf"))
"""The line that holds an object's ID. A link's fdinfo also names its program: links come first."""


def identify(text: bytes) -> tuple[str, int] | None:
    """The kind and ID of the object whose fdinfo this is; None for another kind of file."""
    for line, kind in _IDS:
        found = number(text, line)
        if found is not None:
            return kind, found
    return None
