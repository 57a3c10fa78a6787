"""Programs at sockets: filters of every family, and those that choose the socket of a port."""

from __future__ import annotations

from functools import partial

from bpflens.abi.enums import ProgType
from bpflens.testing.attachments.suite import Expected, case
from bpflens.testing.bench import Bench
from bpflens.testing.builders import program
from bpflens.testing.hooks import id_of
from bpflens.testing.sockets import FAMILIES


def loaded(bench: Bench, type: ProgType = ProgType.SOCKET_FILTER) -> tuple[int, int]:
    """A program: its fd and its ID."""
    text = "r0 = 1; exit" if type is ProgType.SK_REUSEPORT else "r0 = 0; exit"
    prog = program(bench.calls, text, type, name="case_socket")
    return prog, id_of(bench.calls, prog)


def filtered(bench: Bench, kind: str) -> tuple[int, Expected]:
    """A socket with a program that nothing else keeps: its fd, and what must be found."""
    prog, id = loaded(bench)
    fd, words = bench.bound_socket(kind)
    bench.filter_socket(fd, prog)
    bench.files.close(prog)
    return fd, Expected(id, words, via="files", flags=[], holder=f"pid {bench.pid} (")


def _family(kind: str, bench: Bench) -> Expected:
    return filtered(bench, kind)[1]


for _kind in FAMILIES:
    case("socket_filter", f"{_kind}, the program's fd closed")(partial(_family, _kind))


@case("socket_filter", "in another namespace, with a name")
def elsewhere(bench: Bench) -> Expected:
    with bench.elsewhere("blue"):
        fd, found = filtered(bench, "udp")
    return found._replace(target=f"{found.target}@blue", holder=f" fd {fd}")


@case("socket_filter", "one socket of two processes")
def shared(bench: Bench) -> Expected:
    fd, found = filtered(bench, "udp")
    other = bench.stranger(fd)
    return found._replace(holder=f"pid {other} (sleep) fd {fd}")


@case("socket_filter", "open in a process of another user alone")
def strange(bench: Bench) -> Expected:
    fd, found = filtered(bench, "unix")
    other = bench.stranger(fd)
    bench.files.close(fd)
    return found._replace(holder=f"pid {other} (sleep) fd {fd}")


@case("socket_filter", "several sockets, one program")
def several(bench: Bench) -> list[Expected]:
    prog, id = loaded(bench)
    found = []
    for kind in ("udp", "tcp6", "abstract"):
        fd, words = bench.bound_socket(kind)
        bench.filter_socket(fd, prog)
        found.append(Expected(id, words, holder=f" fd {fd}"))
    return found


def _choosing(type: ProgType, kind: str, bench: Bench) -> Expected:
    prog, id = loaded(bench, type)
    fd, words = bench.bound_socket(kind, shared=True)
    bench.choose_socket(fd, prog)
    bench.files.close(prog)
    return Expected(id, words, via="files", flags=[], holder=f" fd {fd}")


for _type in (ProgType.SK_REUSEPORT, ProgType.SOCKET_FILTER):
    for _kind in ("udp", "tcp6"):
        case("sk_reuseport", f"{_kind}, by a {_type.label}")(partial(_choosing, _type, _kind))


@case("sk_reuseport", "beside a filter")
def both(bench: Bench) -> Expected:
    found = _choosing(ProgType.SK_REUSEPORT, "udp", bench)
    fd = int((found.holder or "").rpartition(" ")[2])
    prog, _ = loaded(bench)
    bench.filter_socket(fd, prog)
    return found


@case("packet_fanout", "the program's fd closed")
def group(bench: Bench) -> Expected:
    prog, id = loaded(bench)
    fd, words = bench.bound_socket("packets")
    bench.fan_out(fd, prog)
    bench.files.close(prog)
    return Expected(id, words, via="files", flags=[], holder=f" fd {fd}")
