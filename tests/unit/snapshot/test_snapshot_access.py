"""What the doctor finds, and the overview."""

from __future__ import annotations

import errno

import pytest

import bpflens
from bpflens.abi.enums import Cmd
from bpflens.errors import Denied
from bpflens.snapshot.access import Check, examine, guidance
from bpflens.snapshot.overview import MANY, overview
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Link, prog, table

ROOT = b"Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
NOBODY = b"Uid:\t65534\t65534\t65534\t65534\nCapEff:\t0000000000000000\nSeccomp:\t0\n"
WHOLE = b"         0          0 4294967295\n"


def machine(status: bytes = ROOT, uid_map: bytes = WHOLE, **files: bytes) -> Kernel:
    kernel = Kernel(prog(1), table(5))
    kernel.host.files |= {
        "/proc/self/status": status,
        "/proc/self/uid_map": uid_map,
        "/proc/self/fdinfo/0": b"pos:\t0\n",
        "/proc/sys/kernel/kptr_restrict": files.get("kptr", b"0\n"),
        "/proc/sys/kernel/perf_event_paranoid": b"2\n",
        "/proc/sys/kernel/bpf_stats_enabled": files.get("stats", b"0\n"),
        "/proc/sys/kernel/unprivileged_bpf_disabled": files.get("unpriv", b"2\n"),
        "/sys/kernel/btf/vmlinux": b"\x9f\xeb",
    }
    return kernel


def checks(kernel: Kernel) -> dict[str, Check]:
    return {check.check: check for check in examine(kernel.system())}


def test_root_on_a_plain_machine_may_list_everything() -> None:
    found = checks(machine())
    assert all(found[f"list {noun}s"].ok for noun in ("program", "map", "link", "BTF object"))
    assert found["instructions and machine code"].ok
    assert found["kernel"].found == "Linux 6.18.0-scripted"
    assert found["caller"].found.startswith("uid 0; capabilities: CAP_BPF, ")


def test_another_user_is_told_which_capability_is_missing() -> None:
    kernel = machine(NOBODY)
    for cmd in (Cmd.PROG_GET_NEXT_ID, Cmd.MAP_GET_NEXT_ID, Cmd.LINK_GET_NEXT_ID,
                Cmd.BTF_GET_NEXT_ID):  # fmt: skip
        kernel.refused[cmd] = errno.EPERM
    found = checks(kernel)
    listing = found["list programs"]
    assert listing.ok is False
    assert listing.remedy is not None
    assert "CAP_SYS_ADMIN" in listing.remedy
    assert found["instructions and machine code"].ok is False


def test_root_of_a_container_is_told_that_it_is_not_root_outside() -> None:
    kernel = machine(uid_map=b"0 1000 1\n")
    kernel.refused[Cmd.PROG_GET_NEXT_ID] = errno.EPERM
    remedy = checks(kernel)["list programs"].remedy
    assert remedy is not None
    assert "initial user namespace" in remedy


def test_root_behind_a_filter_is_told_of_the_filter() -> None:
    kernel = machine(ROOT.replace(b"Seccomp:\t0", b"Seccomp:\t2"))
    kernel.refused[Cmd.PROG_GET_NEXT_ID] = errno.EPERM
    remedy = checks(kernel)["list programs"].remedy
    assert remedy is not None
    assert "seccomp" in remedy


def test_a_kernel_without_bpf_is_told_from_a_refusal() -> None:
    kernel = machine()
    kernel.refused[Cmd.PROG_GET_NEXT_ID] = errno.ENOSYS
    kernel.refused[Cmd.LINK_GET_NEXT_ID] = errno.EINVAL
    found = checks(kernel)
    assert "no bpf(2)" in found["list programs"].found
    assert "LINK_GET_NEXT_ID" in str(found["list links"].remedy)


def test_pointers_that_are_restricted_hide_code_even_from_root() -> None:
    check = checks(machine(kptr=b"2\n"))["instructions and machine code"]
    assert (check.ok, check.remedy) == (False, "sysctl kernel.kptr_restrict=1")


def test_statistics_are_told_as_they_are() -> None:
    assert checks(machine(stats=b"1\n"))["run statistics"].ok is True
    assert checks(machine())["run statistics"].ok is False


def test_a_machine_without_proc_is_examined_all_the_same() -> None:
    kernel = Kernel()
    kernel.host.files.clear()
    kernel.host.links.clear()
    found = checks(kernel)
    assert found["kernel"].found == "?"
    assert found["pins"].ok is None
    assert found["kernel types (BTF)"].ok is False


@pytest.mark.parametrize(
    "status", [b"", b"\xff\xfe", b"Uid:\nCapEff:\tzz\n", b"CapEff", b"Uid:\t0\nCapEff:\t\n"]
)
def test_a_status_that_is_damaged_raises_nothing(status: bytes) -> None:
    assert checks(machine(status))["caller"].ok is True


def test_what_is_not_as_it_should_be_comes_with_a_remedy() -> None:
    for kernel in (machine(), machine(NOBODY), machine(kptr=b"2\n"), Kernel()):
        del kernel.host.links["/proc/self/ns/net"]  # it has no netlink
        for check in examine(kernel.system()):
            helped = check.remedy or "a security module" in check.found
            assert check.ok is not False or helped, check.check


def test_a_refusal_comes_with_what_would_help_this_caller() -> None:
    denied = Denied("no", "CAP_SYS_ADMIN")
    assert "run it as root" in guidance(machine(NOBODY).system(), denied)
    assert guidance(machine().system(), Denied("no", "CAP_SYSLOG")) == "needs CAP_SYSLOG"
    assert guidance(machine().system(), Denied("no")) == ""


def test_an_overview_counts_what_there_is() -> None:
    kernel = Kernel(prog(1), prog(2), table(5), table(6), Link(3))
    kernel.host.pins["/sys/fs/bpf/a"] = kernel.objects[0]
    found, errors = overview(kernel.system())
    assert {error.path for error in errors} == {"sockets", "link 3"}
    assert (found.programs, found.maps, found.links, found.btf_objects) == (2, 2, 1, 0)
    assert found.memlock_bytes == 2 * 4096 + 2 * 8192
    assert found.pinned == 1
    assert found.programs_by_type == {"socket_filter": 2}
    assert found.copies == []
    # Nothing tells what is at sockets where files cannot be read in bulk.
    assert list(found.missing) == ["attached"]


def test_an_overview_says_what_it_could_not_count() -> None:
    kernel = Kernel(prog(1))
    kernel.refused = {Cmd.LINK_GET_NEXT_ID: errno.EINVAL, Cmd.BTF_GET_NEXT_ID: errno.EPERM}
    found, _ = overview(kernel.system())
    assert (found.links, found.btf_objects) == (None, None)
    assert found.missing["links"].startswith("unsupported")
    assert found.missing["btf_objects"].startswith("denied")


def test_a_program_that_is_loaded_many_times_over_is_pointed_at() -> None:
    copies = [prog(id, b"leak") for id in range(1, MANY + 1)]
    for copy in copies:
        copy.info.tag = b"same tag"
    found, _ = overview(Kernel(*copies).system())
    assert [(c["name"], c["count"]) for c in found.copies] == [("leak", MANY)]
    found, _ = overview(Kernel(*copies[1:]).system())
    assert found.copies == []


def test_the_doctor_tells_what_attachments_rest_on() -> None:
    with bpflens.open("engine:demo") as system:
        root = {check.check: check for check in examine(system)}
    assert root["open files"].ok
    assert root["namespaces"].ok
    plain = checks(Kernel())
    assert plain["open files"].ok is not True


@pytest.mark.parametrize(
    ("status", "told"), [(NOBODY, "CAP_SYS_ADMIN and CAP_SYS_PTRACE"), (ROOT, None)]
)
def test_nobody_is_sent_for_capabilities_that_he_has(
    monkeypatch: pytest.MonkeyPatch, status: bytes, told: str | None
) -> None:
    kernel = machine(status)
    kernel.host.files["/proc/7/comm"] = b"guarded\n"

    def readlink(path: str) -> str:
        if path.startswith("/proc/7/"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return kernel.host.links.get(path, "net:[4026531833]")

    monkeypatch.setattr(kernel.host, "readlink", readlink)
    found = checks(kernel)["namespaces"]
    assert (found.ok, "namespaces of hidden processes" in found.found) == (False, True)
    assert (told or "") in (found.remedy or "")
    assert (found.remedy is None) == (told is None) == ("a security module" in found.found)
