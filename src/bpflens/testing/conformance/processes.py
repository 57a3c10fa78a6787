"""What /proc tells of a process: its files, namespaces, mounts, cgroup and start."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

from bpflens.attach.places import Places
from bpflens.model.system import System
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, program
from bpflens.testing.conformance.suite import CLOSED, cases, same


def failure(do: Callable[[], object]) -> int | None:
    """The errno with which a file cannot be read; None where it can."""
    try:
        do()
    except OSError as error:
        return error.errno
    return None


def lines(bench: Bench, name: str) -> list[str]:
    """A file of this process by lines."""
    return bench.doors.host.read(f"/proc/self/{name}").decode().splitlines()


@cases(
    netns=(lambda bench: bench.netns(), r"net:\[(\d+)\]"),
    socket=(lambda bench: bench.socket("udp"), r"socket:\[(\d+)\]"),
)
def check_name_with_an_inode(bench: Bench, maker: Callable[[Bench], int], name: str) -> None:
    """Namespaces and sockets are named by their inode, which fdinfo tells too."""
    fd = maker(bench)
    found = re.fullmatch(name, bench.doors.host.readlink(f"/proc/self/fd/{fd}"))
    assert found, bench.doors.host.readlink(f"/proc/self/fd/{fd}")
    same(bench.fdinfo(fd)["ino"], found[1])


def check_own_namespace(bench: Bench) -> None:
    """A file of the own network namespace is on what /proc/self/ns/net names."""
    host = bench.doors.host
    same(host.readlink(f"/proc/self/fd/{bench.netns()}"), host.readlink("/proc/self/ns/net"))


def check_name_of_a_perf_event(bench: Bench) -> None:
    """Perf events are anonymous inodes, with brackets."""
    fd = bench.ticks()
    same(bench.doors.host.readlink(f"/proc/self/fd/{fd}"), "anon_inode:[perf_event]")


def check_name_of_a_cgroup(bench: Bench) -> None:
    """A cgroup's folder has its path, and says when it was removed; its inode is its ID."""
    cgroup = bench.cgroup()
    link = f"/proc/self/fd/{cgroup.fd}"
    before = bench.doors.host.readlink(link)
    assert before.endswith(cgroup.path), (before, cgroup.path)
    same(bench.fdinfo(cgroup.fd)["ino"], str(cgroup.id))
    bench.remove_cgroup(cgroup)
    same(bench.doors.host.readlink(link), f"{before} (deleted)")


def check_anonymous_inode(bench: Bench) -> None:
    """Objects of all kinds are on one inode of one mount."""
    one, other = bench.fdinfo(map(bench.calls)), bench.fdinfo(program(bench.calls))
    same((one["ino"], one["mnt_id"]), (other["ino"], other["mnt_id"]))
    assert bench.fdinfo(bench.netns())["mnt_id"] != one["mnt_id"]


def check_files(bench: Bench) -> None:
    """Every open file is in fd and in fdinfo; one that is closed is not there (ENOENT)."""
    host, fd = bench.doors.host, map(bench.calls)
    for folder in ("fd", "fdinfo"):
        assert (str(fd), False) in host.listdir(f"/proc/self/{folder}")
    same(host.read(f"/proc/self/fdinfo/{fd}"), host.fdinfo(fd))
    same(failure(lambda: host.readlink(f"/proc/self/fd/{CLOSED}")), errno.ENOENT)
    same(failure(lambda: host.read(f"/proc/self/fdinfo/{CLOSED}")), errno.ENOENT)


def check_errors_of_files(bench: Bench) -> None:
    """What is no link is EINVAL, no directory ENOTDIR, no process ENOENT; a directory EISDIR."""
    host = bench.doors.host
    same(failure(lambda: host.readlink("/proc/self/comm")), errno.EINVAL)
    same(failure(lambda: host.readlink("/proc/self/fd")), errno.EINVAL)
    same(failure(lambda: host.listdir("/proc/self/comm")), errno.ENOTDIR)
    same(failure(lambda: host.read("/proc/self/fd")), errno.EISDIR)
    same(failure(lambda: host.read("/proc/4194304/comm")), errno.ENOENT)
    same(failure(lambda: host.readlink("/proc/4194304/ns/net")), errno.ENOENT)


def check_names_of_self(bench: Bench) -> None:
    """self and thread-self lead to the process and its thread."""
    host = bench.doors.host
    pid = host.readlink("/proc/self")
    assert host.readlink("/proc/thread-self").startswith(f"{pid}/task/")
    same(host.readlink("/proc/thread-self/ns/net"), host.readlink(f"/proc/{pid}/ns/net"))
    assert (pid, True) in host.listdir("/proc")
    same(host.readlink("/proc/self/root"), "/")


def check_stat(bench: Bench) -> None:
    """stat has the name in brackets, then 50 fields, of which the 20th is the start."""
    (text,) = lines(bench, "stat")
    head, _, tail = text.rpartition(") ")
    pid, _, comm = head.partition(" (")
    same((pid, comm), (bench.doors.host.readlink("/proc/self"), lines(bench, "comm")[0]))
    fields = tail.split(" ")
    same(len(fields), 50)
    assert 0 < int(fields[19]) * 10_000_000 <= bench.doors.host.clock().boottime


def check_status(bench: Bench) -> None:
    """status tells who it is and what it may."""
    told = dict(line.split(":\t", 1) for line in lines(bench, "status") if ":\t" in line)
    same(told["Name"], lines(bench, "comm")[0])
    same(told["Uid"].split("\t"), ["0"] * 4)
    assert re.fullmatch("[0-9a-f]{16}", told["CapEff"])
    assert int(told["PPid"]) >= 0


def check_cgroup(bench: Bench) -> None:
    """The last line of cgroup is of version 2: its path from the root."""
    assert re.fullmatch("0::/.*", lines(bench, "cgroup")[-1])


def check_boot_id(bench: Bench) -> None:
    """A boot has a UUID."""
    text = bench.doors.host.read("/proc/sys/kernel/random/boot_id").decode()
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n", text), text


def check_mounts(bench: Bench) -> None:
    """mountinfo has a line for each file system, in which its kind stands behind a dash."""
    path = bench.bpffs()
    told = [line for line in lines(bench, "mountinfo") if f" {path} " in line]
    same(len(told), 1)
    id, parent, device, root, there, options, *rest = told[0].split(" ")
    same((root, there), ("/", path))
    assert int(id) > 0
    assert int(parent) > 0
    assert re.fullmatch(r"0:\d+", device)
    assert options.startswith("rw")
    same(rest[rest.index("-") + 1], "bpf")


def check_places(bench: Bench) -> None:
    """Processes, namespaces, mounts and cgroups are found as attachments are looked for in them."""
    cgroup, bpffs = bench.cgroup(), bench.bpffs()
    with System(bench.doors) as system:
        places = Places(system)
        own = [process for process in places.processes if process.pid == bench.pid]
        same([(each.netns, each.mntns) for each in own], [(places.own_netns, places.own_mntns)])
        same([each.inode for each in places.netns if each.own], [places.own_netns])
        assert bpffs in [mount.path for mount in places.mounts if mount.kind == "bpf"]
        same(places.cgroups[cgroup.id], cgroup.name)
        with system.doors.net.entered(places.netns[0].ways[0]):
            same(bench.doors.host.readlink("/proc/thread-self/ns/net"), f"net:[{places.own_netns}]")
