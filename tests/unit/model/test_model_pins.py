"""Pins: every bpffs of this mount namespace, and what stands in the way."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.abi.enums import Cmd
from bpflens.model import pins
from bpflens.port.mountinfo import mounts
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Link, prog, table


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(prog(1), table(5))


def mountinfo(kernel: Kernel, *lines: str) -> None:
    text = "".join(line + "\n" for line in lines)
    kernel.host.files["/proc/self/mountinfo"] = text.encode(errors="surrogateescape")


BPF = "36 25 0:31 / {} rw,nosuid shared:17 - bpf bpf rw,mode=700"


def test_mounts_are_found_by_their_type_with_any_optional_fields(kernel: Kernel) -> None:
    mountinfo(
        kernel,
        "22 1 8:1 / / rw - ext4 /dev/root rw",
        BPF.format("/sys/fs/bpf"),
        "37 25 0:32 / /run/bpf rw - bpf none rw",
        "38 25 0:33 / /bpf rw shared:1 master:2 propagate_from:3 - tmpfs bpf rw",
        "",
        "damaged - bpf",
    )
    assert [mount.path for mount in pins.mounts(kernel.system())] == ["/sys/fs/bpf", "/run/bpf"]


def test_a_mount_over_which_another_is_mounted_cannot_be_reached(kernel: Kernel) -> None:
    mountinfo(
        kernel,
        "36 25 0:31 / /sys/fs/bpf rw - bpf bpf rw",
        "40 36 0:40 / /sys/fs/bpf rw - bpf bpf rw",
        "41 25 0:41 / /run/bpf rw - bpf bpf rw",
        "42 41 0:42 / /run/bpf rw - tmpfs tmpfs rw",
        "43 40 0:43 / /sys/fs/bpf/inner rw - tmpfs tmpfs rw",
    )
    found = mounts(kernel.host.read("/proc/self/mountinfo"), "bpf")
    assert [each.covered for each in found] == [True, False, True]
    errors = pins.find(kernel.system()).errors
    assert [path for path, _ in errors] == ["/sys/fs/bpf", "/run/bpf"]
    assert {str(error) for _, error in errors} == {"[Errno 18] another mount covers it"}


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (r"/mnt/a\040b", "/mnt/a b"),
        (r"/mnt/tab\011x", "/mnt/tab\tx"),
        (r"/mnt/back\134slash", r"/mnt/back\slash"),
        (r"/mnt/back\134040", r"/mnt/back\040"),
        (r"/mnt/back\134x41", r"/mnt/back\x41"),
        ("/mnt/größe", "/mnt/größe"),
        ("/mnt/\udcff", "/mnt/\udcff"),
    ],
)
def test_a_mount_point_is_read_as_the_kernel_escapes_it(
    kernel: Kernel, written: str, path: str
) -> None:
    mountinfo(kernel, BPF.format(written))
    assert [mount.path for mount in pins.mounts(kernel.system())] == [path]


@given(st.text(min_size=1).filter(lambda t: "\0" not in t))
def test_every_mount_point_comes_back_as_it_is(name: str) -> None:
    """Escaped as mangle_path(path, " \\t\\n\\\\#") does it."""
    kernel = Kernel()
    raw = ("/" + name).encode(errors="surrogatepass")
    written = b"".join(
        f"\\{byte:03o}".encode() if byte in b" \t\n\\#" else bytes([byte]) for byte in raw
    )
    line = b"36 25 0:31 / " + written + b" rw - bpf bpf rw\n"
    kernel.host.files["/proc/self/mountinfo"] = line
    found = pins.mounts(kernel.system())
    assert [mount.path.encode(errors="surrogateescape") for mount in found] == [raw]


def test_objects_are_found_in_nested_directories_and_at_several_paths(kernel: Kernel) -> None:
    one, five = kernel.objects
    kernel.host.pins = {
        "/sys/fs/bpf/one": one,
        "/sys/fs/bpf/deep/er/one": one,
        "/sys/fs/bpf/deep/five": five,
        "/sys/fs/bpf/link": Link(9),
    }
    found = pins.find(kernel.system())
    assert found.errors == []
    assert found.paths == {
        ("program", 1): ["/sys/fs/bpf/one", "/sys/fs/bpf/deep/er/one"],
        ("map", 5): ["/sys/fs/bpf/deep/five"],
        # a link's fdinfo names its program too: it is still a link
        ("link", 9): ["/sys/fs/bpf/link"],
    }
    assert kernel.fds == {}


def test_a_pin_that_vanishes_meanwhile_is_no_error(kernel: Kernel) -> None:
    one, five = kernel.objects
    kernel.host.pins = {"/sys/fs/bpf/a": one, "/sys/fs/bpf/b": one, "/sys/fs/bpf/c": five}

    def unpin(cmd: Cmd) -> None:
        kernel.host.pins.pop("/sys/fs/bpf/b", None)

    kernel.before = unpin
    found = pins.find(kernel.system())
    assert found.errors == []
    assert found.paths == {("program", 1): ["/sys/fs/bpf/a"], ("map", 5): ["/sys/fs/bpf/c"]}


def test_a_directory_that_cannot_be_read_hides_only_itself(kernel: Kernel) -> None:
    one, _ = kernel.objects
    kernel.host.pins = {"/sys/fs/bpf/a": one, "/sys/fs/bpf/closed/b": one}
    kernel.host.unreadable = {"/sys/fs/bpf/closed"}
    found = pins.find(kernel.system())
    assert found.paths == {("program", 1): ["/sys/fs/bpf/a"]}
    ((path, error),) = found.errors
    assert path == "/sys/fs/bpf/closed"
    assert isinstance(error, PermissionError)


def test_a_pin_that_cannot_be_opened_hides_only_itself(kernel: Kernel) -> None:
    one, _ = kernel.objects
    kernel.host.pins = {"/sys/fs/bpf/a": errno.EACCES, "/sys/fs/bpf/b": one}
    found = pins.find(kernel.system())
    assert found.paths == {("program", 1): ["/sys/fs/bpf/b"]}
    assert [path for path, _ in found.errors] == ["/sys/fs/bpf/a"]


def test_without_proc_there_are_no_pins_but_a_reason(kernel: Kernel) -> None:
    kernel.host.files["/proc/self/mountinfo"] = errno.ENOENT
    found = pins.find(kernel.system())
    assert found.paths == {}
    assert [path for path, _ in found.errors] == ["/proc/self/mountinfo"]


def test_a_mount_at_the_root_gives_paths_with_one_slash(kernel: Kernel) -> None:
    mountinfo(kernel, BPF.format("/"))
    kernel.host.files = {"/proc/self/mountinfo": kernel.host.files["/proc/self/mountinfo"]}
    kernel.host.pins = {"/x": kernel.objects[0]}
    assert pins.find(kernel.system()).paths == {("program", 1): ["/x"]}


def test_a_name_with_an_escape_sequence_is_kept_as_it_is_and_only_shown_otherwise(
    kernel: Kernel,
) -> None:
    path = "/sys/fs/bpf/\x1b[2Jx\udcff"
    kernel.host.pins = {path: kernel.objects[0]}
    assert pins.find(kernel.system()).paths == {("program", 1): [path]}
