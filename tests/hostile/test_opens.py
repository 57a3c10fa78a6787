"""What each command opens on a host with twenty hostile containers, seen from outside."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import pytest

import bpflens
from tests.hostile.host import Host
from tests.hostile.lens import Ran, run
from tests.hostile.shapes import commands, containers, looks
from tests.hostile.strace import Opened, Trace, traced

T = TypeVar("T")

FOREIGN = re.compile(r"^/proc/(\d+)(?:/task/\d+)?/(?:root|cwd|exe|fd/\d+|map_files/[^/]+)(?:/|$)")
"""A path that another process chose, if it is another's."""

HERE = os.path.dirname(os.path.abspath(__file__))
AUDITED = os.path.join(HERE, "audited")

ALLOWED = (
    sys.prefix,
    sys.base_prefix,
    os.path.dirname(os.path.dirname(HERE)),
    os.path.dirname(os.path.dirname(bpflens.__file__)),
    os.path.expanduser("~/.cache/bpflens"),
    "/proc",
    "/sys",
    "/lib",
    "/usr",
    "/etc/ld.so.cache",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/ssl",
    "/dev/null",
)
"""Files and folders that a command may open beside what is mounted as bpffs, cgroup2 or nsfs:
Python, its modules, libraries; the kernel's own; the names of users; what is kept from run to
run."""


@pytest.fixture(scope="module")
def crowd() -> Iterator[Host]:
    """The host with twenty hostile containers."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    host = Host()
    try:
        containers(host, hostile=True)
        yield host
    finally:
        host.close()


@pytest.fixture(scope="module")
def traces(crowd: Host) -> list[tuple[str, Trace]]:
    """Of every command there."""
    return every(crowd)


def every(host: Host) -> list[tuple[str, Trace]]:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    run("attach", "list")  # what is kept from run to run is there
    return two_at_once(lambda words, log: (" ".join(words), traced(*words, to=log)), host, looks)


def two_at_once(
    do: Callable[[tuple[str, ...], str], T],
    host: Host,
    commands: Callable[[Host], list[tuple[str, ...]]],
) -> list[T]:
    """Do it with each command and a file of its own."""
    with ThreadPoolExecutor(2) as pool:
        numbered = enumerate(commands(host))
        begun = [pool.submit(do, words, f"{host.folder}/log{number}") for number, words in numbered]
        return [each.result() for each in begun]


def ended(ran: Ran) -> bool:
    """It was not ended by a signal, and it knew what it was asked."""
    return ran.status in (0, 1)


def test_no_command_opens_what_another_process_chose(crowd: Host) -> None:
    """By Python's own account (an audit hook): nothing below /proc/PID/root, and no /proc/PID/fd/N,
    is opened, listed or read but by O_PATH."""
    path = os.pathsep.join(filter(None, (AUDITED, os.environ.get("PYTHONPATH"))))

    def audited(words: tuple[str, ...], log: str) -> tuple[tuple[str, ...], Ran, list[str]]:
        ran = run(*words, env={"PYTHONPATH": path, "BPFLENS_AUDIT": log})
        with open(log) as file:
            return words, ran, file.read().splitlines()

    for words, ran, lines in two_at_once(audited, crowd, commands):
        assert ended(ran), (words, ran)
        assert len(lines) > 10
        for line in lines:
            pid, event, name = line.split(" ", 2)
            found = FOREIGN.match(name.strip("b'\""))
            assert not found or found[1] == pid, (words, event, name)


def test_every_command_ends(traces: list[tuple[str, Trace]]) -> None:
    """Within the limit, with an answer."""
    for words, trace in traces:
        assert ended(trace.ran), (words, trace.ran)
        assert trace.calls > 100


def test_by_the_kernel_account_nothing_foreign_is_opened(traces: list[tuple[str, Trace]]) -> None:
    """The same by strace, which sees every call of every process of a command."""
    for words, trace in traces:
        for each in trace.opened:
            found = FOREIGN.match(each.path)
            if found and int(found[1]) != each.pid:
                assert each.by_path, (words, each)


def test_no_open_blocks(traces: list[tuple[str, Trace]]) -> None:
    """Each has ended before the command does."""
    for words, trace in traces:
        assert not [each for each in trace.opened if not each.result], words


def test_no_file_is_opened_that_no_mount_names(
    crowd: Host, traces: list[tuple[str, Trace]]
) -> None:
    """What was opened, and not by O_PATH, is of the kernel, of Python, or mounted as what it was
    taken for; the baits were not."""
    assert crowd.witness.opened() == []
    named = set(mounted())
    for words, trace in traces:
        for each in trace.opened:
            if each.file and not each.by_path:
                assert known(each, named, f"{crowd.folder}/recording"), (words, each)


def mounted() -> Iterator[str]:
    """Where a bpffs, cgroup2 or nsfs is mounted, as the mountinfo of any process tells."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{pid}/mountinfo", "rb") as file:
            for line in file:
                before, _, after = line.decode(errors="surrogateescape").partition(" - ")
                if after.split(" ")[0] in ("bpf", "cgroup2", "nsfs"):
                    yield before.split(" ")[4]


def known(opened: Opened, named: set[str], recording: str) -> bool:
    file = opened.file
    if file == "/dev":  # listed, for the devices of lirc
        return True
    if re.fullmatch(r"(net|mnt|pid):\[\d+\]|anon_inode:.*|pipe:\[\d+\]", file):
        return True
    folder, _, name = recording.rpartition("/")
    unfinished = rf"{re.escape(folder)}/\.{re.escape(name)}\.bpflens-[0-9a-f]+"
    if file == folder or re.fullmatch(rf"{re.escape(recording)}|{unfinished}", file):
        return True
    return any(file == each or file.startswith(f"{each}/") for each in (*ALLOWED, *named))


def test_hostile_containers_cost_at_most_twice_the_calls(
    traces: list[tuple[str, Trace]], host: Host
) -> None:
    """Of those that twenty honest containers of the same shape cost."""
    containers(host, hostile=False)
    for (words, hostile), (_, honest) in zip(traces, every(host), strict=True):
        assert ended(honest.ran)
        assert hostile.calls <= 2 * honest.calls, (words, hostile.calls, honest.calls)
