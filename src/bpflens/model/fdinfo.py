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
