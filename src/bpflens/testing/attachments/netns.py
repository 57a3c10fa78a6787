"""Cases: network namespaces themselves, and their routes."""

from __future__ import annotations

from ipaddress import ip_network

from bpflens.abi.attrs import LinkCreate, LinkCreateNetfilter, ProgAttach
from bpflens.abi.enums import AttachType, ProgType
from bpflens.abi.netlink import NETLINK_NETFILTER, Encap, LwtBpf, get_hooks
from bpflens.errors import SyscallError
from bpflens.testing import rtnetlink
from bpflens.testing.attachments.net import name, offered, own, refusal
from bpflens.testing.attachments.suite import Expected, case
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.builders import program
from bpflens.testing.hooks import id_of, link_id


@case("flow_dissector", "by PROG_ATTACH")
def dissector(bench: Bench) -> Expected:
    prog = program(bench.calls, type=ProgType.FLOW_DISSECTOR)
    bench.calls.prog_attach(ProgAttach(attach_bpf_fd=prog, attach_type=AttachType.FLOW_DISSECTOR))
    return Expected(id_of(bench.calls, prog), own(bench), via="prog_query")


@case("flow_dissector", "by a link, in another namespace")
def dissector_by_link(bench: Bench) -> Expected:
    prog = program(bench.calls, type=ProgType.FLOW_DISSECTOR)
    with bench.elsewhere("blue"):
        netns = bench.netns()
    link = bench.calls.link_create(
        LinkCreate(prog_fd=prog, target_fd=netns, attach_type=AttachType.FLOW_DISSECTOR)
    )
    return Expected(id_of(bench.calls, prog), "netns blue", link_id=link_id(bench.calls, link))


@case("sk_lookup", "by links, one program twice")
def lookup(bench: Bench) -> list[Expected]:
    hook = AttachType.SK_LOOKUP
    one, other = (
        program(bench.calls, "r0 = 1; exit", ProgType.SK_LOOKUP, attach_type=hook) for _ in range(2)
    )
    with bench.elsewhere():
        netns, target = bench.netns(), own(bench)
    found = []
    for turn, prog in enumerate((one, other, one)):
        link = bench.calls.link_create(LinkCreate(prog_fd=prog, target_fd=netns, attach_type=hook))
        found.append(
            Expected(id_of(bench.calls, prog), target, turn, link_id=link_id(bench.calls, link))
        )
    return found


NF_INPUT = 1


def netfilter_link(bench: Bench, priority: int) -> tuple[int, int]:
    """A program at a netfilter hook: its ID and its link's."""
    try:
        prog = program(
            bench.calls, "r0 = 1; exit", ProgType.NETFILTER, attach_type=AttachType.NETFILTER
        )
    except SyscallError as error:
        raise refusal(error, "programs of netfilter") from error
    link = bench.calls.link_create(
        LinkCreateNetfilter(
            prog_fd=prog,
            attach_type=AttachType.NETFILTER,
            pf=2,
            hooknum=NF_INPUT,
            priority=priority,
        )
    )
    return id_of(bench.calls, prog), link_id(bench.calls, link)


def tells_hooks(bench: Bench) -> bool:
    """Whether the kernel tells what is at a netfilter hook, and so in which namespace."""
    try:
        bench.doors.net.dump(NETLINK_NETFILTER, get_hooks(2, NF_INPUT))
    except OSError:
        return False
    return True


@case("netfilter", "by a link")
def netfilter(bench: Bench) -> Expected:
    prog, link = netfilter_link(bench, -5)
    target = own(bench) if tells_hooks(bench) else "a network namespace"
    return Expected(prog, target, None, ["priority -5"], link_id=link, attach_type="ipv4 input")


@case("netfilter", "several in order, in another namespace")
def netfilter_elsewhere(bench: Bench) -> list[Expected]:
    with bench.elsewhere("blue"):
        told = [netfilter_link(bench, priority) for priority in (7, -7)]
    if not tells_hooks(bench):
        raise NotOffered(
            "this kernel does not tell which namespace a netfilter link is in "
            "(CONFIG_NETFILTER_NETLINK_HOOK, since 6.4)"
        )
    return [
        Expected(prog, "netns blue", turn, via="netlink", link_id=link)
        for (prog, link), turn in zip(told, (1, 0), strict=True)
    ]


# --- routes


def route(bench: Bench, network: str, encap: int, programs: bytes) -> str:
    """A route with programs, by a device of its own: the target."""
    ifindex = bench.device()
    bench.change_net(rtnetlink.up(ifindex))
    address = ip_network(network)
    request = rtnetlink.new_route(
        ifindex, address.network_address.packed, address.prefixlen, encap, programs
    )
    offered(bench, request, "programs of routes")
    return f"route {network} dev {name(bench, ifindex)}"


@case("lwt", "the only program of its type")
def lwt(bench: Bench) -> Expected:
    prog = program(bench.calls, type=ProgType.LWT_XMIT, name="case_lwt")
    program_of = rtnetlink.route_program(LwtBpf.XMIT, prog, b"lwt.o:[xmit]")
    target = route(bench, "198.51.100.0/24", Encap.BPF, program_of)
    return Expected(
        id_of(bench.calls, prog), target, flags=["name lwt.o:[xmit]"], via="netlink",
        attach_type="lwt_xmit", only_by_type=True,
    )  # fmt: skip


@case("lwt", "seg6local")
def seg6local(bench: Bench) -> Expected:
    prog = program(bench.calls, type=ProgType.LWT_SEG6LOCAL, name="case_seg6")
    with bench.elsewhere("blue"):
        programs = rtnetlink.seg6_program(prog, b"seg6")
        target = route(bench, "2001:db8::/64", Encap.SEG6_LOCAL, programs)
    return Expected(
        id_of(bench.calls, prog), f"{target}@blue", flags=["name seg6"], attach_type="seg6local"
    )


# --- what cannot be shown


@case("lirc")
def lirc(bench: Bench) -> Expected:
    try:
        program(bench.calls, type=ProgType.LIRC_MODE2)
    except SyscallError as error:
        raise refusal(error, "programs of infrared receivers") from error
    raise NotOffered("there is no infrared receiver")


@case("tun")
def tun(bench: Bench) -> Expected:
    raise NotOffered("no call tells the programs of a tun device")


@case("xt_bpf")
def xt_bpf(bench: Bench) -> Expected:
    raise NotOffered("a rule tells the path or the fd that its loader gave, and no program ID")
