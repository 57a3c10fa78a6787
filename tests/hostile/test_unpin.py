"""`unpin` removes what it has shown, and nothing else; a pin's path is no text."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType, ProgType
from bpflens.testing.builders import program
from bpflens.testing.hooks import link_id
from tests.hostile import calls
from tests.hostile.host import Host
from tests.hostile.lens import COMMAND, Ran, run
from tests.hostile.test_pins import users_folder


class Said(NamedTuple):
    """What `unpin` said that it did, or would do."""

    object: str
    id: int
    done: bool
    others: list[dict[str, Any]]
    """What else holds the object."""


def unpin(path: str, *options: str, **how: Any) -> Said:
    """Do it, successfully."""
    ran = run("unpin", path, *(options or ("--yes",)), "--json", **how)
    assert ran.status == 0, ran.stderr
    told = json.loads(ran.stdout)
    return Said(told["object"], told["id"], told["done"], told["held"]["holders"])


def refused(path: str, **how: Any) -> Ran:
    """Try it, in vain."""
    ran = run("unpin", path, "--yes", **how)
    assert ran.status != 0, ran.stdout
    assert ran.stderr
    return ran


def exists(id: int) -> bool:
    """Whether there is such a map; of its holders, not all may be seen."""
    return run("map", "show", str(id)).status in (0, 1)


# --- one pin, many paths


@pytest.mark.parametrize("way", ["absolute", "relative", "slashes", "dots", "link", "bind mount"])
def test_a_pin_is_not_held_by_itself(host: Host, way: str) -> None:
    """Whatever path leads to a pin: the pin that is removed is not among those that stay."""
    map = host.pinned(f"{host.bpffs}/x")
    cwd = None
    path = f"{host.bpffs}/x"
    match way:
        case "relative":
            cwd, path = host.bpffs, "x"
        case "slashes":
            path = f"{host.bpffs}//x"
        case "dots":
            path = f"{host.bpffs}/../{os.path.basename(host.bpffs)}/x"
        case "link":
            os.symlink(host.bpffs, f"{host.folder}/s")
            path = f"{host.folder}/s/x"
        case "bind mount":
            os.mkdir(f"{host.folder}/again")
            calls.bind(host.bpffs, f"{host.folder}/again")
            path = f"{host.folder}/again/x"
    try:
        assert unpin(path, "--dry-run", cwd=cwd) == ("map", map, False, [])
        assert unpin(path, cwd=cwd) == ("map", map, True, [])
        assert not exists(map)
    finally:
        with suppress(OSError):
            calls.unmount(f"{host.folder}/again")


def test_a_link_is_gone_with_its_pin(host: Host) -> None:
    """The same of an XDP link, which is all that keeps its program attached."""
    prog = program(host.calls, "r0 = 2; exit", ProgType.XDP, name="pinned_link")
    with host.bench.elsewhere():
        device = host.bench.device()
        attr = LinkCreate(prog_fd=prog, target_fd=device, attach_type=AttachType.XDP)
        link = host.calls.link_create(attr)
    id = link_id(host.calls, link)
    os.mkdir(f"{host.bpffs}/d")
    host.calls.obj_pin(link, f"{host.bpffs}/d/link")
    host.bench.files.close(link)
    gone = run("graph", "--if-gone", f"pin:{host.bpffs}/d/../d/link")
    assert gone.status == 0, gone.stderr
    assert f"link {id}" in gone.stdout
    assert unpin("d/link", "--dry-run", cwd=host.bpffs).others == []
    assert unpin("d/link", cwd=host.bpffs) == ("link", id, True, [])
    assert run("link", "show", str(id)).status == 3


def test_a_hard_link_is_another_pin(host: Host) -> None:
    """It has the inode of the pin that goes, and holds the object all the same."""
    map = host.pinned(f"{host.bpffs}/x")
    os.link(f"{host.bpffs}/x", f"{host.bpffs}/y")
    said = unpin(f"{host.bpffs}/x")
    assert [each["path"] for each in said.others] == [f"{host.bpffs}/y"]
    assert exists(map)
    assert unpin(f"{host.bpffs}/y") == ("map", map, True, [])
    assert not exists(map)


def test_a_second_pin_is_told(host: Host) -> None:
    """As before: what else holds the object is named."""
    fd, map = host.map()
    for name in "xy":
        host.calls.obj_pin(fd, f"{host.bpffs}/{name}")
    host.bench.files.close(fd)
    said = unpin(f"{host.bpffs}/x")
    assert (said.id, [each["path"] for each in said.others]) == (map, [f"{host.bpffs}/y"])


# --- what is no pin


def test_a_symlink_is_not_unpinned(host: Host) -> None:
    """A link as PATH is refused: neither it nor the pin that it leads to is removed."""
    map = host.pinned(f"{host.bpffs}/x")
    for link in (f"{host.bpffs}/l", f"{host.folder}/l"):
        os.symlink(f"{host.bpffs}/x", link)
        refused(link)
        assert os.path.islink(link)
        assert exists(map)


@pytest.mark.parametrize("end", ["/", "/.", "/..", "//"])
def test_a_path_with_a_slash_at_its_end(host: Host, end: str) -> None:
    """It names a directory: nothing is removed."""
    map = host.pinned(f"{host.bpffs}/x")
    refused(f"{host.bpffs}/x{end}")
    assert exists(map)


@pytest.mark.parametrize("what", ["regular", "fifo", "directory", "bpffs", "empty", "missing"])
def test_a_path_that_is_no_pin(host: Host, what: str) -> None:
    """A file of the host, a FIFO, a directory, nothing: each is refused, and is still there."""
    path = f"{host.folder}/passwd"
    match what:
        case "regular":
            with open(path, "w") as file:
                file.write("root:x:0:0")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            os.mkdir(path)
        case "bpffs":
            path = host.bpffs
        case "empty":
            path = ""
    there = os.path.lexists(path)
    if there:
        host.witness.watch(path)
    said = refused(path).stderr
    assert os.path.lexists(path) == there
    if what in ("regular", "fifo", "directory"):
        assert "bpffs" in said.replace(path, "")
        assert host.witness.opened() == []
    if what == "regular":
        with open(path) as file:
            assert file.read() == "root:x:0:0"


def test_a_file_of_the_host_that_is_bound_into_a_bpffs(host: Host) -> None:
    """A mount lies over the pin: what would be removed is no pin."""
    map = host.pinned(f"{host.bpffs}/x")
    os.close(os.open(f"{host.folder}/file", os.O_CREAT))
    calls.bind(f"{host.folder}/file", f"{host.bpffs}/x")
    try:
        refused(f"{host.bpffs}/x")
    finally:
        calls.unmount(f"{host.bpffs}/x")
    assert exists(map)
    assert os.path.exists(f"{host.folder}/file")


# --- what changes between the look and the removal


@pytest.mark.parametrize("tries", [8, pytest.param(150, marks=pytest.mark.soak)])
def test_a_directory_becomes_a_symlink(host: Host, tries: int) -> None:
    """A user swaps the pin's directory with a link to a folder of the host, all the time: no file
    there is removed or opened."""
    folder = users_folder(host)
    victim = f"{host.folder}/etc"
    os.mkdir(victim)
    with open(f"{victim}/passwd", "w") as file:
        file.write("root:x:0:0")
    host.witness.watch(f"{victim}/passwd")
    os.mkdir(f"{folder}/d")
    os.symlink(victim, f"{folder}/e")
    for name in "de":
        os.chown(f"{folder}/{name}", 65534, 65534, follow_symlinks=False)

    def part() -> Iterator[Any]:
        yield None
        while True:
            calls.exchange(f"{folder}/d", f"{folder}/e")
            yield

    host.act(part, 0, user=True)
    for _ in range(tries):
        _pin_again(host, folder)
        run("unpin", f"{folder}/d/passwd", "--yes")
        assert host.witness.opened() == []
        assert os.path.exists(f"{victim}/passwd")


def _pin_again(host: Host, folder: str) -> None:
    """Whichever of the two is the directory in this moment."""
    fd, _ = host.map()
    for _ in range(1000):
        for name in "de":
            try:
                inside = os.open(f"{folder}/{name}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                with suppress(OSError):  # it is there
                    host.calls.obj_pin(fd, f"/proc/self/fd/{inside}/passwd")
            finally:
                os.close(inside)
            host.bench.files.close(fd)
            return
    raise AssertionError("there was no directory")


def test_another_pin_comes_there_while_we_ask(host: Host) -> None:
    """The pin is replaced by one of another object before the question is answered with yes."""
    first = host.pinned(f"{host.bpffs}/x", "first")
    other = host.pinned(f"{host.bpffs}/z", "other")
    master, terminal = os.openpty()
    child = subprocess.Popen(
        ["setsid", *COMMAND, "unpin", f"{host.bpffs}/x"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert child.stderr
        asked = b""
        while b"[y/N]" not in asked:
            piece = os.read(child.stderr.fileno(), 1 << 16)
            assert piece, asked
            asked += piece
        calls.exchange(f"{host.bpffs}/x", f"{host.bpffs}/z")
        os.write(master, b"y\n")
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
        os.close(master)
        os.close(terminal)
    assert child.returncode != 0, said
    assert exists(first)
    assert exists(other)


# --- pins in another mount namespace


def elsewhere(host: Host) -> tuple[str, int, int]:
    """A pin that a container alone sees: its path there, the inode of the mount namespace, and the
    ID of the map."""
    os.mkdir(f"{host.folder}/run")
    path = f"{host.folder}/run/x"

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{host.folder}/run")
        yield host.pinned(path)

    actor = host.act(part)
    return path, actor.inode("mnt"), actor.told


def test_a_pin_of_another_mount_namespace_has_one_spelling(host: Host) -> None:
    """`PATH@INODE`: as it is printed everywhere, so it can be given everywhere."""
    path, mntns, map = elsewhere(host)
    spelled = f"{path}@{mntns}"
    assert host.map_shown(f"pin:{spelled}").one(id=map)
    for words in (
        ("map", "show", str(map), "--parts", "all"),
        ("why", "map", str(map)),
        ("graph", f"map:{map}"),
        ("graph", f"pin:{spelled}"),
        ("graph", "--if-gone", f"pin:{spelled}"),
        ("unpin", spelled, "--dry-run"),
    ):
        ran = run(*words)
        assert ran.status == 0, (words, ran.stderr)
        assert spelled in ran.stdout, (words, ran.stdout)
        assert f"(mount namespace {mntns})" not in ran.stdout
    assert unpin(spelled) == ("map", map, True, [])
    assert not exists(map)


def test_the_bare_path_is_ours(host: Host) -> None:
    """A pin of ours and one of a container have the same path: without `@` it is ours."""
    path, mntns, theirs = elsewhere(host)
    calls.mount("bpf", os.path.dirname(path))
    try:
        ours = host.pinned(path)
        assert host.map_shown(f"pin:{path}").items[0]["id"] == ours
        assert host.map_shown(f"pin:{path}@{mntns}").items[0]["id"] == theirs
        assert unpin(path) == ("map", ours, True, [])
        assert exists(theirs)
        assert refused(path)
        assert exists(theirs)
    finally:
        calls.unmount(os.path.dirname(path))


def test_a_name_that_looks_like_a_mount_namespace(host: Host) -> None:
    """A user pins at `x@INODE`: neither pin is taken for the other, and each is reached by what is
    printed for it."""
    path, mntns, theirs = elsewhere(host)
    calls.mount("bpf", os.path.dirname(path))
    try:
        ours = host.pinned(f"{path}@{mntns}")
        shown = host.map_shown(ours).one(id=ours)["holders"][0]["words"]
        there = host.map_shown(theirs).one(id=theirs)["holders"][0]["words"]
        assert shown != there
        assert host.map_shown(f"pin:{shown}").items[0]["id"] == ours
        assert host.map_shown(f"pin:{there}").items[0]["id"] == theirs
    finally:
        calls.unmount(os.path.dirname(path))


def test_a_mount_namespace_where_something_else_lies(host: Host) -> None:
    """The container's bpffs is covered by a link to a folder of the host: nothing is removed."""
    os.mkdir(f"{host.folder}/a")
    os.mkdir(f"{host.folder}/a/bpf")
    os.mkdir(f"{host.folder}/etc")
    os.close(os.open(f"{host.folder}/etc/x", os.O_CREAT))
    host.witness.watch(f"{host.folder}/etc/x")
    path = f"{host.folder}/a/bpf/x"

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{host.folder}/a/bpf")
        map = host.pinned(path)
        calls.mount("tmpfs", f"{host.folder}/a")
        os.symlink(f"{host.folder}/etc", f"{host.folder}/a/bpf")
        yield map

    actor = host.act(part)
    refused(f"{path}@{actor.inode('mnt')}")
    assert host.witness.opened() == []
    assert os.path.exists(f"{host.folder}/etc/x")
    assert exists(actor.told)
    refused(f"{path}@1")


def test_no_option_is_abbreviated(host: Host) -> None:
    """`--y` is not `--yes`: a typing error changes nothing."""
    map = host.pinned(f"{host.bpffs}/x")
    for option in ("--y", "--ye", "--dry", "--dry-ru"):
        assert run("unpin", f"{host.bpffs}/x", option).status == 2
    assert exists(map)
