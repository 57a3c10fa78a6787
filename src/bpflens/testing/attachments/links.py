"""What is attached by links alone: at functions, tracepoints, probes, events, iterators."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from bpflens.abi.attrs import LinkCreateTracingMulti, ProgLoad, RawTracepointOpen
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import MapInfo
from bpflens.btf.types import Func
from bpflens.errors import SyscallError
from bpflens.model.btfobject import BtfObject
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing
from bpflens.model.system import System
from bpflens.port.memory import Memory
from bpflens.testing.attachments.suite import Expected, case
from bpflens.testing.bench import TRACEPOINT, Bench, NotOffered
from bpflens.testing.builders import RETURN_0, code, load, map, program, u32, u64
from bpflens.testing.conformance import functions, iterators, many_probes, probes
from bpflens.testing.conformance.elsewhere import typed
from bpflens.testing.hooks import id_of, link_id
from bpflens.testing.kernel_types import function_id, traced_program

FUNCTION, OTHER = probes.FUNCTION, many_probes.OTHER
COOKIE = 1 << 40 | 7


def told(bench: Bench, fd: int) -> LinkFacts:
    """What the kernel tells of a link."""
    with System(bench.doors) as system, system.link(link_id(bench.calls, fd)) as link:
        return link.info()


def linked(bench: Bench, fd: int, target: str, hook: str | None = None) -> Expected:
    """What must be said of a link. Raises NotOffered where the kernel does not tell enough."""
    facts = told(bench, fd)
    for field in ("perf_event_type", "probe_count"):
        if field in facts.missing:
            raise NotOffered(f"this kernel does not tell where a {facts.type.label} link is")
    cookie = facts.cookie
    if facts.cookies is not None:
        cookie = facts.cookies[0] if len(facts.cookies) == 1 else None
    return Expected(
        facts.prog_id, target, via="link", link_id=facts.id, attach_type=hook, cookie=cookie or None
    )


def at_event(bench: Bench, event: int, type: P = P.KPROBE) -> int:
    """A link to a perf event of which nobody has an fd: it tells of itself what is told."""
    fd = probes.at_event(bench, event, COOKIE, type)
    bench.calls.close(event)
    return fd


# --- tracepoints


@case("raw_tracepoint")
def raw_tracepoint(bench: Bench) -> Expected:
    fd = bench.calls.raw_tracepoint_open(program(bench.calls, type=P.RAW_TRACEPOINT), TRACEPOINT)
    return linked(bench, fd, TRACEPOINT)


@case("raw_tracepoint", "with a cookie")
def raw_tracepoint_cookie(bench: Bench) -> Expected:
    mem = Memory()
    name = mem.pin(bytearray(TRACEPOINT.encode() + b"\0"))
    prog = program(bench.calls, type=P.RAW_TRACEPOINT)
    attr = RawTracepointOpen(name=name, prog_fd=prog, cookie=COOKIE)
    try:
        fd = bench.calls.call(Cmd.RAW_TRACEPOINT_OPEN, attr, mem)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        raise NotOffered("this kernel takes no cookie for a raw tracepoint") from error
    if "cookie" in told(bench, fd).missing:
        raise NotOffered("this kernel does not tell the cookie of a raw tracepoint")
    return linked(bench, fd, TRACEPOINT)._replace(cookie=COOKIE)


@case("tracing", "tracepoint (tp_btf)")
def typed_tracepoint(bench: Bench) -> Expected:
    fd = functions.open_(bench.calls, typed(bench.calls))
    return linked(bench, fd, TRACEPOINT, A.TRACE_RAW_TP.label)


@case("tracepoint", "link")
def tracepoint(bench: Bench) -> Expected:
    event = bench.tracepoint("sched", TRACEPOINT)
    fd = at_event(bench, event, P.TRACEPOINT)
    return linked(bench, fd, TRACEPOINT)


# --- functions


def at_function(function: str, attach: A, bench: Bench) -> Expected:
    """A program at a function of the kernel."""
    fd = functions.open_(bench.calls, traced_program(bench.calls, function, attach))
    return linked(bench, fd, function.removeprefix("bpf_lsm_"), attach.label)


for _name, (_function, _attach) in functions.PLACES.items():
    case("lsm" if _name == "lsm" else "tracing", "" if _name == "lsm" else _name)(
        partial(at_function, _function, _attach)
    )


@case("tracing", "function of a module")
def function_of_a_module(bench: Bench) -> Expected:
    traced_program(bench.calls, FUNCTION, A.TRACE_FENTRY)
    with System(bench.doors) as system:
        for module in system.btf_objects():
            with module:
                name = module.name()
                if name != "vmlinux" and isinstance(name, str):
                    for function, fd in at_module(bench, module):
                        return linked(bench, fd, f"{function} [{name}]", A.TRACE_FENTRY.label)
    raise NotOffered("no module has a function that can be traced")


def at_module(bench: Bench, module: BtfObject) -> Iterator[tuple[str, int]]:
    """A program at each function of a module that is passed only as its device is taken away."""
    types = module.types()
    for id in () if isinstance(types, Missing) else types.ids():
        found = types[id]
        if isinstance(found, Func) and found.name.endswith("_remove"):
            attr = ProgLoad(
                prog_type=P.TRACING, expected_attach_type=A.TRACE_FENTRY, attach_btf_id=id,
                attach_prog_fd=module.fd,
            )  # fmt: skip
            with suppress(SyscallError):
                prog = load(bench.calls, attr, code(RETURN_0))
                yield found.name, functions.open_(bench.calls, prog)


@case("tracing", "function of another program")
def function_of_a_program(bench: Bench) -> Expected:
    calls = bench.calls
    prog, id = functions.target(calls)
    made = functions.tracer(calls, prog, id)
    target = f"program {id_of(calls, prog)} main"
    return linked(bench, functions.open_(calls, made), target, A.TRACE_FENTRY.label)


@case("freplace")
def freplace(bench: Bench) -> Expected:
    calls = bench.calls
    prog, id = functions.target(calls)
    fd = functions.open_(calls, functions.extension(calls, prog, id))
    return linked(bench, fd, f"program {id_of(calls, prog)} main")


# --- iterators


def iterator(target: str, bench: Bench) -> Expected:
    """An iterator over all of a kind."""
    fd = iterators.over(bench.calls, target)
    return linked(bench, fd, target, A.TRACE_ITER.label)


for _name in ("bpf_map", "bpf_prog", "task"):
    case("iter", _name)(partial(iterator, _name))


@case("iter", "elements of a map")
def iterator_elements(bench: Bench) -> Expected:
    held = map(bench.calls)
    fd = iterators.over(bench.calls, "bpf_map_elem", u32(held))
    target = f"bpf_map_elem map {bench.calls.info(held, MapInfo).id}"
    return linked(bench, fd, target, A.TRACE_ITER.label)


def iterator_of(word: str, place: int, bench: Bench) -> Expected:
    """An iterator over one thread's or one process's own."""
    fd = iterators.over(bench.calls, "task", u32(*(0,) * place, bench.pid, 0, 0))
    facts = told(bench, fd)
    if facts.tid is None and facts.pid is None:
        raise NotOffered("this kernel's iterators take no task")
    return linked(bench, fd, f"task {word} {bench.pid}", A.TRACE_ITER.label)


case("iter", "one thread")(partial(iterator_of, "tid", 0))
case("iter", "one process")(partial(iterator_of, "pid", 1))


@case("iter", "a cgroup and below")
def iterator_cgroups(bench: Bench) -> Expected:
    group = bench.cgroup()
    fd = iterators.over(bench.calls, "cgroup", u32(2, group.fd))
    return linked(bench, fd, f"cgroup {group.name} descendants_pre", A.TRACE_ITER.label)


# --- perf events and probes


@case("perf_event", "link")
def perf_event(bench: Bench) -> Expected:
    return linked(bench, at_event(bench, bench.ticks(), P.PERF_EVENT), "dummy")


def probe(kind: str, back: bool, bench: Bench) -> Expected:
    """A kprobe at a function's beginning, or its return; a uprobe in a file."""
    place = FUNCTION if kind == "kprobe" else bench.executable()
    offset = 0 if kind == "kprobe" else 64
    event = bench.probe(kind, place, offset, back=back)
    fd = at_event(bench, event)
    target = f"{place}+{offset:#x}" if offset else place
    return linked(bench, fd, target, f"{kind[0]}ret{kind[1:]}" if back else kind)


for _name in ("kprobe", "uprobe"):
    case(_name, "link")(partial(probe, _name, False))
    case(_name, "link, at return")(partial(probe, _name, True))


@case("kprobe", "link, inside a function")
def kprobe_inside(bench: Bench) -> Expected:
    for offset in (4, 5):  # behind ENDBR, or behind what ftrace may patch
        try:
            event = bench.probe("kprobe", FUNCTION, offset)
        except OSError as error:
            if error.errno != errno.EILSEQ:
                raise
        else:
            return linked(bench, at_event(bench, event), f"{FUNCTION}+{offset:#x}", "kprobe")
    raise NotOffered("no instruction begins where one was looked for")


@case("kprobe_multi", "one function")
def kprobe_multi_one(bench: Bench) -> Expected:
    fd = many_probes.at_functions(bench.calls, [FUNCTION], [COOKIE])
    return linked(bench, fd, FUNCTION, "kprobe_multi")


@case("kprobe_multi", "several functions")
def kprobe_multi(bench: Bench) -> Expected:
    fd = many_probes.at_functions(bench.calls, [FUNCTION, OTHER])
    return linked(bench, fd, "2 functions", "kprobe_multi")


@case("kprobe_multi", "at return")
def kprobe_multi_return(bench: Bench) -> Expected:
    fd = many_probes.at_functions(bench.calls, [FUNCTION], kprobe_multi_flags=many_probes.RETURN)
    return linked(bench, fd, FUNCTION, "kretprobe_multi")


def traced_functions(bench: Bench, attach: A, names: list[str], cookies: list[int]) -> int:
    """A link of one program to several functions, by their types."""
    # Such a program is loaded for no function: which they are is said of the link.
    load_attr = ProgLoad(prog_type=P.TRACING, expected_attach_type=attach)
    ids = u32(*(function_id(bench.calls, name) for name in names))
    mem = Memory()
    try:
        prog = load(bench.calls, load_attr, code(RETURN_0))
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        raise NotOffered("this kernel traces one function by a link (Linux 7.2)") from error
    attr = LinkCreateTracingMulti(
        prog_fd=prog, attach_type=attach, ids=mem.pin(bytearray(ids)), cnt=len(names),
        cookies=mem.pin(bytearray(u64(*cookies))) if cookies else 0,
    )  # fmt: skip
    return bench.calls.call(Cmd.LINK_CREATE, attr, mem)


@case("tracing_multi", "one function")
def tracing_multi_one(bench: Bench) -> Expected:
    fd = traced_functions(bench, A.TRACE_FENTRY_MULTI, [FUNCTION], [COOKIE])
    return linked(bench, fd, FUNCTION, A.TRACE_FENTRY_MULTI.label)


@case("tracing_multi", "several functions")
def tracing_multi(bench: Bench) -> Expected:
    fd = traced_functions(bench, A.TRACE_FSESSION_MULTI, [FUNCTION, OTHER], [7, 8])
    return linked(bench, fd, "2 functions", A.TRACE_FSESSION_MULTI.label)


@case("tracing_multi", "at return")
def tracing_multi_return(bench: Bench) -> Expected:
    fd = traced_functions(bench, A.TRACE_FEXIT_MULTI, [OTHER, FUNCTION], [])
    return linked(bench, fd, "2 functions", A.TRACE_FEXIT_MULTI.label)


def offered(attach: Callable[[], int]) -> int:
    """A link to places of a file."""
    try:
        return attach()
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        raise NotOffered("this kernel has no links to many uprobes") from error


@case("uprobe_multi", "one place")
def uprobe_multi_one(bench: Bench) -> Expected:
    fd = offered(lambda: many_probes.at_places(bench, [64], [COOKIE]))
    return linked(bench, fd, f"{bench.executable()}+0x40", "uprobe_multi")


@case("uprobe_multi", "several places")
def uprobe_multi(bench: Bench) -> Expected:
    fd = offered(lambda: many_probes.at_places(bench, [64, 128, 192]))
    return linked(bench, fd, f"{bench.executable()}: 3 places", "uprobe_multi")


@case("uprobe_multi", "at return, of one process")
def uprobe_multi_return(bench: Bench) -> Expected:
    fd = offered(
        lambda: many_probes.at_places(
            bench, [64], uprobe_multi_flags=many_probes.RETURN, pid=bench.pid
        )
    )
    target = f"{bench.executable()}+0x40 of pid {bench.pid}"
    return linked(bench, fd, target, "uretprobe_multi")
