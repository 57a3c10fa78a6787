"""Facts of a process: told by the files of /proc, whatever its command is called."""

from __future__ import annotations

import errno
import os

import pytest

from bpflens.model import processes
from bpflens.model.parts import Missing, Reason
from bpflens.model.processes import ProcessFacts

ID = "0123456789abcdef" * 4
POD = "kubepods-burstable-pod1f2e3d4c_0000_1111_2222_333344445555"


class Files:
    """A host of a few files."""

    def __init__(self, **files: bytes | int) -> None:
        self.files = {name.replace("__", "/"): content for name, content in files.items()}

    def read(self, path: str) -> bytes:
        found = self.files.get(path.removeprefix("/proc/7/"), errno.ENOENT)
        if isinstance(found, int):
            raise OSError(found, os.strerror(found))
        return found


def stat(comm: bytes = b"nginx", start: int = 1000) -> bytes:
    fields = b" ".join(b"%d" % number for number in range(4, 22))
    return b"7 (%s) S %s %d 0 0\n" % (comm, fields, start)


def read(files: dict[str, bytes | int], before: int | None = None) -> ProcessFacts | Missing:
    given: dict[str, bytes | int] = {
        "stat": stat(),
        "status": b"Name:\tnginx\nUid:\t1000\t33\t1000\t1000\n",
        "cgroup": b"0::/system.slice/nginx.service\n",
    }
    return processes.read(Files(**(given | files)), 7, before)  # type: ignore[arg-type]


def told(**files: bytes | int) -> ProcessFacts:
    found = read(files)
    assert isinstance(found, ProcessFacts)
    return found


def test_a_process_is_told_with_its_unit() -> None:
    path = "/system.slice/nginx.service"
    start = 1000 * 10_000_000
    assert told() == ProcessFacts(7, "nginx", 33, start, path, "nginx.service", None, {})
    assert told().words == "pid 7 (nginx)"


@pytest.mark.parametrize("comm", [b"a) R 1 1 (b", b")", b"", b"two words", b"\xff\xfe"])
def test_no_name_of_a_command_misleads(comm: bytes) -> None:
    found = told(stat=stat(comm))
    assert found.start == 1000 * 10_000_000
    assert found.comm == comm.decode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("path", "unit", "container"),
    [
        (f"/system.slice/docker-{ID}.scope", f"docker-{ID}.scope", ID),
        (f"/kubepods.slice/{POD}.slice/cri-containerd-{ID}.scope", f"cri-containerd-{ID}.scope",
         ID),
        (f"/kubepods/burstable/pod1f2e3d4c/{ID}", None, ID),
        (f"/docker/{ID}/inner", None, ID),
        (f"/machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope", ID),
        (f"/system.slice/containerd.service/{POD}.slice:cri-containerd:{ID}",
         "containerd.service", ID),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/foot.scope", "foot.scope", None),
        ("/", None, None),
        ("/../other.service", "other.service", None),
        (f"/{ID}0", None, None),
    ],
)  # fmt: skip
def test_units_and_containers_are_told_by_the_path(
    path: str, unit: str | None, container: str | None
) -> None:
    lines = f"12:cpu:/elsewhere\n0::{path}\n".encode()
    assert told(cgroup=lines)[4:7] == (path, unit, container)


def test_a_pid_that_came_again_is_another_process() -> None:
    start = 1000 * 10_000_000
    assert isinstance(read({}, start), ProcessFacts)
    found = read({}, start - 1)
    assert isinstance(found, Missing)
    assert found.reason is Reason.GONE


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"stat": errno.ENOENT}, Reason.GONE),
        ({"status": errno.ESRCH}, Reason.GONE),
        ({"stat": errno.EACCES}, Reason.DENIED),
        ({"stat": b"7 (nginx"}, Reason.FAILED),
        ({"status": b"Name:\tnginx\n"}, Reason.FAILED),
        ({"status": b"Name:\tnginx\nUid:\t"}, Reason.FAILED),
    ],
)
def test_what_cannot_be_read_is_missing(files: dict[str, bytes | int], reason: Reason) -> None:
    found = read(files)
    assert isinstance(found, Missing)
    assert found.reason is reason


def test_without_its_cgroup_a_process_is_told_still() -> None:
    for lines, reason in ((errno.EACCES, "denied"), (b"1:name=systemd:/\n", "unsupported")):
        found = told(cgroup=lines)
        assert (found.comm, found.cgroup, found.unit) == ("nginx", None, None)
        assert all(why.startswith(reason) for why in found.missing.values())


def test_users_have_the_names_of_passwd() -> None:
    lines = b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\nbroken\nx:y:z\nweb:x:33:33:::\n"
    host = Files()
    host.files["/etc/passwd"] = lines
    assert processes.users(host) == {0: "root", 33: "web"}  # type: ignore[arg-type]
    assert processes.users(Files()) == {}  # type: ignore[arg-type]
