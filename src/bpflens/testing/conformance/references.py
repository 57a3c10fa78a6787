"""Who keeps what alive, and who does not."""

from __future__ import annotations

from collections.abc import Callable

from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import BtfInfo, MapInfo
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.builders import btf, map, program, types, u32
from bpflens.testing.conformance.devices import cls, tcx, xdp, xdp_link
from bpflens.testing.conformance.namespaces import lookup, netns_link
from bpflens.testing.conformance.suite import cases, same
from bpflens.testing.hooks import Hook, detach_link, id_of

NEXT = {"prog": Cmd.PROG_GET_NEXT_ID, "map": Cmd.MAP_GET_NEXT_ID, "btf": Cmd.BTF_GET_NEXT_ID}


def lives(calls: Calls, kind: str, id: int) -> bool:
    """Whether the object with this id is still there."""
    return calls.next_id(NEXT[kind], id - 1) == id


def gone(calls: Calls, kind: str, id: int) -> None:
    """The object goes, if not at once then soon."""
    eventually(lambda: not lives(calls, kind, id), f"{kind} {id} went")


def cgroup_attached(bench: Bench, prog: int) -> Callable[[], None]:
    hook = Hook(bench.calls, bench.cgroup().fd, A.CGROUP_INET_INGRESS)
    hook.attach(prog)
    return hook.detach


def tcx_attached(bench: Bench, prog: int) -> Callable[[], None]:
    hook = tcx(bench)
    hook.attach(prog)
    return hook.detach


def xdp_linked(bench: Bench, prog: int) -> Callable[[], None]:
    link = xdp_link(bench, bench.device(), prog)
    return lambda: bench.calls.close(link)


def netns_linked(bench: Bench, prog: int) -> Callable[[], None]:
    link = netns_link(bench, prog, A.SK_LOOKUP)
    return lambda: bench.calls.close(link)


def in_an_array(bench: Bench, prog: int) -> Callable[[], None]:
    fd = map(bench.calls, T.PROG_ARRAY)
    bench.calls.map_update(fd, u32(0), u32(prog))
    return lambda: bench.calls.map_delete(fd, u32(0))


def in_a_devmap(bench: Bench, prog: int) -> Callable[[], None]:
    fd = map(bench.calls, T.DEVMAP, value_size=8)
    bench.calls.map_update(fd, u32(0), u32(bench.device(), prog))
    return lambda: bench.calls.map_delete(fd, u32(0))


def on_a_device_that_goes(bench: Bench, prog: int) -> Callable[[], None]:
    device = bench.device()
    Hook(bench.calls, device, A.TCX_INGRESS).attach(prog)
    return lambda: bench.remove_device(device)


def in_a_cgroup_that_goes(bench: Bench, prog: int) -> Callable[[], None]:
    group = bench.cgroup()
    Hook(bench.calls, group.fd, A.CGROUP_INET_INGRESS).attach(prog)
    return lambda: bench.remove_cgroup(group)


def skb(calls: Calls) -> int:
    return program(calls, "r0 = 1; exit", P.CGROUP_SKB)


HOLDERS = {
    "cgroup": (skb, cgroup_attached),
    "tcx": (cls, tcx_attached),
    "xdp_link": (xdp, xdp_linked),
    "netns_link": (lookup, netns_linked),
    "prog_array": (program, in_an_array),
    "devmap": (lambda calls: xdp(calls, A.XDP_DEVMAP), in_a_devmap),
    "device_that_goes": (cls, on_a_device_that_goes),
    "cgroup_that_goes": (skb, in_a_cgroup_that_goes),
}


@cases(**HOLDERS)
def check_program_is_kept(
    bench: Bench,
    maker: Callable[[Calls], int],
    hold: Callable[[Bench, int], Callable[[], None]],
) -> None:
    """A program lives on without fds where it is attached or stored, and goes when that ends."""
    prog = maker(bench.calls)
    id = id_of(bench.calls, prog)
    release = hold(bench, prog)
    bench.calls.close(prog)
    assert lives(bench.calls, "prog", id)
    release()
    gone(bench.calls, "prog", id)


def check_detached_link_keeps_its_program(bench: Bench) -> None:
    """A link that is detached keeps its program until it is closed."""
    prog = skb(bench.calls)
    id = id_of(bench.calls, prog)
    link = Hook(bench.calls, bench.cgroup().fd, A.CGROUP_INET_INGRESS).link(prog)
    bench.calls.close(prog)
    detach_link(bench.calls, link)
    assert lives(bench.calls, "prog", id)
    bench.calls.close(link)
    gone(bench.calls, "prog", id)


def check_program_keeps_its_btf(calls: Calls) -> None:
    """BTF lives on in the program that was loaded with it."""
    found = types(["main"])
    held = btf(calls, found.data)
    id = calls.info(held, BtfInfo).id
    prog = program(calls, btf=held, funcs=[(0, found.funcs[0])])
    calls.close(held)
    assert lives(calls, "btf", id)
    calls.close(prog)
    gone(calls, "btf", id)


def check_array_and_program_let_each_other_go(calls: Calls) -> None:
    """A program in the array that it uses itself does not live for ever."""
    fd = map(calls, T.PROG_ARRAY)
    id = calls.info(fd, MapInfo).id
    prog = program(calls, "r2 = map_fd m; r3 = 0; call tail_call; r0 = 0; exit", m=fd)
    member = id_of(calls, prog)
    calls.map_update(fd, u32(0), u32(prog))
    calls.close(prog)
    assert lives(calls, "prog", member)
    calls.close(fd)
    gone(calls, "prog", member)
    gone(calls, "map", id)


def check_chain(calls: Calls) -> None:
    """A program keeps a map of maps, which keeps the maps in it."""
    inner = map(calls)
    outer = map(calls, T.ARRAY_OF_MAPS, inner=inner)
    calls.map_update(outer, u32(0), u32(inner))
    prog = program(calls, "r1 = map_fd m; r0 = 0; exit", m=outer)
    ids = [calls.info(fd, MapInfo).id for fd in (inner, outer)]
    calls.close(inner)
    calls.close(outer)
    same([lives(calls, "map", id) for id in ids], [True, True])
    calls.close(prog)
    for id in ids:
        gone(calls, "map", id)


def check_model_is_not_kept(calls: Calls) -> None:
    """The map that a map of maps was modelled on is not kept by it."""
    model = map(calls)
    id = calls.info(model, MapInfo).id
    map(calls, T.ARRAY_OF_MAPS, inner=model)
    calls.close(model)
    gone(calls, "map", id)


def check_failed_load_keeps_nothing(calls: Calls) -> None:
    """A program that was refused keeps none of its maps."""
    fd = map(calls)
    id = calls.info(fd, MapInfo).id
    try:
        program(calls, "r1 = map_fd m; exit", m=fd)
    except OSError:
        calls.close(fd)
    gone(calls, "map", id)
