"""/proc/PID/mountinfo: which mounts there are, and which of them are better left alone."""

from __future__ import annotations

import tracemalloc

import pytest

from bpflens.port.mountinfo import Mount, below, mounts, root_device

ROOT = "27 1 254:0 / / rw - ext4 /dev/vda rw\n"


def read(*lines: str, trusted: str = "") -> list[Mount]:
    text = (ROOT + "".join(f"{line}\n" for line in lines)).encode()
    return mounts(text, "bpf", "nsfs", trusted=trusted)


def test_a_mount_has_what_tells_it_from_others() -> None:
    (found,) = read("36 27 0:31 /x /sys/fs/bpf rw shared:1 - bpf bpf rw")
    assert found == Mount("bpf", "0:31", "/x", "/sys/fs/bpf", 36)
    assert found.closed == ""


@pytest.mark.parametrize(
    ("lines", "covered"),
    [
        # on its own root
        (["36 27 0:31 / /a/b rw - bpf bpf rw", "37 36 0:32 / /a/b rw - tmpfs t rw"], True),
        # over a directory on the way to it, on the same parent
        (["36 27 0:31 / /a/b rw - bpf bpf rw", "37 27 0:32 / /a rw - tmpfs t rw"], True),
        # over the root of the mount that it lies on
        (
            [
                "35 27 0:30 / /a rw - tmpfs t rw",
                "36 35 0:31 / /a/b rw - bpf bpf rw",
                "37 35 0:32 / /a rw - tmpfs t rw",
            ],
            True,
        ),
        # it lies on that mount
        (["35 27 0:30 / /a rw - tmpfs t rw", "36 35 0:31 / /a/b rw - bpf bpf rw"], False),
        # a neighbour, of which the name begins alike
        (["36 27 0:31 / /a/bc rw - bpf bpf rw", "37 27 0:32 / /a/b rw - tmpfs t rw"], False),
        # something below it
        (["36 27 0:31 / /a rw - bpf bpf rw", "37 36 0:32 / /a/b rw - tmpfs t rw"], False),
    ],
)
def test_a_mount_is_covered_where_its_path_leads_elsewhere(lines: list[str], covered: bool) -> None:
    (found,) = read(*lines)
    assert found.covered == covered
    assert found.closed == ("another mount covers it" if covered else "")


@pytest.mark.parametrize("kind", ["fuse", "fuse.sshfs", "nfs4", "cifs", "9p", "autofs", "nfs"])
def test_what_lies_below_a_mount_that_may_not_answer_is_left_alone(kind: str) -> None:
    (found,) = read(
        f"35 27 0:30 / /home/u rw - {kind} x rw",
        "36 35 0:31 / /home/u/a rw - tmpfs t rw",
        "37 36 0:32 / /home/u/a/b rw - bpf bpf rw",
    )
    assert found.below == kind
    assert found.closed == f"it lies below a {kind} mount, which may never answer"


def test_the_file_system_that_we_run_from_is_not_waited_for_any_less() -> None:
    text = b"27 1 0:9 / / rw - 9p root rw\n36 27 0:31 / /sys/fs/bpf rw - bpf bpf rw\n"
    assert root_device(text) == "0:9"
    assert [each.below for each in mounts(text, "bpf")] == ["9p"]
    assert [each.below for each in mounts(text, "bpf", trusted="0:9")] == [""]


@pytest.mark.parametrize(
    "text",
    [
        b"36 36 0:31 / /a rw - bpf bpf rw\n",
        b"36 37 0:31 / /a rw - bpf bpf rw\n37 36 0:32 / / rw - tmpfs t rw\n",
        b"x y 0:31 / /a rw - bpf bpf rw",
        b"36 27 0:31 / /a\n - bpf\n",
    ],
)
def test_damage_is_read_in_bounded_time(text: bytes) -> None:
    assert len(mounts(text, "bpf")) <= 1


def test_many_long_mounts_of_others_need_little_memory() -> None:
    path = "/" + "x" * 4000
    text = "".join(f"{n} 27 0:{n} / {path}{n} rw - tmpfs t rw\n" for n in range(100, 5100))
    data = (text + "36 27 0:31 / /sys/fs/bpf rw - bpf bpf rw\n").encode()
    tracemalloc.start()
    found = mounts(data, "bpf", "nsfs")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.path for each in found] == ["/sys/fs/bpf"]
    assert peak < len(data) / 10


def test_a_path_below_a_mount_is_named_from_our_own_namespace() -> None:
    mount = Mount("bpf", "0:31", "/", "/run/bpf", before="/proc/812/root")
    assert below(mount, "a/b") == "/proc/812/root/run/bpf/a/b"
    assert below(mount, "") == "/proc/812/root/run/bpf"
    assert below(mount._replace(path="/"), "a") == "/proc/812/root/a"
    assert below(None, "a") == "a"
    assert mount.holds("/run/bpf/x")
    assert not mount.holds("/run/bpfx")
