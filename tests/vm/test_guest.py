"""What the other tests rest on: a guest runs commands, and its kernel has BPF."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tools.vm.archive import VmError
from tools.vm.guest import REPOSITORY, Guest

pytestmark = pytest.mark.vm

# What a kernel tells of an object, however large the buffer is, is the size of the struct that it
# was built with (kernel/bpf/syscall.c, bpf_prog_get_info_by_fd and its like).
INFO_LEN = {
    "6.1": {"prog": 232, "map": 88, "link": 48, "btf": 32},
    "6.12": {"prog": 232, "map": 88, "link": 64, "btf": 32},
    "7.2": {"prog": 232, "map": 104, "link": 64, "btf": 32},
}
PIN = "/sys/fs/bpf/bpflens_vm"


def test_runs_the_kernel_that_was_asked_for(guest: Guest) -> None:
    release = guest.run(["uname", "-r"]).stdout.strip()
    assert release == guest.kernel.release
    assert release.startswith(f"{guest.kernel.version}.")


def test_python_is_this_one_and_finds_bpflens(guest: Guest) -> None:
    script = (
        "import sys, platform, bpflens; print(sys.version, platform.release(), bpflens.__file__)"
    )
    done = guest.run(["python3", "-c", script])
    expected = f"{sys.version} {guest.kernel.release} {REPOSITORY}/src/bpflens/__init__.py\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_commands_are_like_those_of_subprocess(guest: Guest) -> None:
    script = 'read line; echo "$line $WORD"; echo err >&2; exit 7'
    done = guest.run(["sh", "-c", script], input="it's one\n", env={"WORD": "§2"})
    assert (done.returncode, done.stdout, done.stderr) == (7, "it's one §2\n", "err\n")


def test_a_command_that_takes_too_long_ends_and_the_guest_lives(guest: Guest) -> None:
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        guest.run(["sh", "-c", "echo begun; sleep 100"], timeout=1)
    assert time.monotonic() - started < 10
    assert str(caught.value.stdout) == "begun\n"
    assert guest.run(["true"]).returncode == 0


def test_a_command_is_given_files_and_gives_files_back(guest: Guest) -> None:
    script = (
        "import pathlib, sys\n"
        "data = pathlib.Path('in/data').read_bytes()\n"
        "pathlib.Path('out.bin').write_bytes(data[::-1])\n"
        "print(sys.argv[1])\n"
    )
    given: dict[str, str | bytes] = {"probe.py": script, "in/data": b"\0\xff\xfe"}
    done = guest.run(["python3", "probe.py", "word"], files=given)
    assert (done.stderr, done.stdout) == ("", "word\n")
    assert done.files == {
        "probe.py": script.encode(), "in/data": b"\0\xff\xfe", "out.bin": b"\xfe\xff\0",
    }  # fmt: skip
    assert guest.run(["ls", "-A"], files={}).stdout == ""  # each command has its own folder


@pytest.mark.soak
def test_a_kernel_that_panics_is_told_and_disturbs_nobody(
    own_guest: Callable[[str], Guest], guest: Guest
) -> None:
    own = own_guest(guest.kernel.version)
    with pytest.raises(VmError, match="panicked"):
        own.run(["sh", "-c", "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger"])
    assert guest.run(["true"]).returncode == 0


def test_the_share_is_written_and_the_root_is_not(guest: Guest) -> None:
    (guest.share / "in").write_text("from the host")
    done = guest.run(["sh", "-c", "cp /run/share/in /run/share/out; touch /bin/new"])
    assert (guest.share / "out").read_text() == "from the host"
    assert "Read-only file system" in done.stderr
    assert guest.run(["touch", "/tmp/new", "/run/new"]).returncode == 0


def test_file_systems_and_loopback_are_there(guest: Guest) -> None:
    mounts = guest.run(["cat", "/proc/mounts"]).stdout
    kinds = {tuple(line.split()[1:3]) for line in mounts.splitlines()}
    assert kinds >= {
        ("/sys/fs/bpf", "bpf"),
        ("/sys/fs/cgroup", "cgroup2"),
        ("/sys/kernel/tracing", "tracefs"),
    }
    assert int(guest.run(["cat", "/sys/class/net/lo/flags"]).stdout, 16) & 1  # IFF_UP


def test_the_kernel_loads_modules_on_demand(guest: Guest) -> None:
    # It asks for net-pf-38 (net/socket.c, __sock_create), which all kernels have as a module.
    script = "import socket; socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)"
    assert "af_alg" not in guest.run(["cat", "/proc/modules"]).stdout
    assert guest.run(["python3", "-c", script]).stderr == ""
    assert "af_alg" in guest.run(["cat", "/proc/modules"]).stdout


def test_the_kernel_answers_bpf(guest: Guest) -> None:
    done = guest.run(["python3", "tests/vm/ask_bpf.py"])
    assert done.stderr == ""
    answers = json.loads(done.stdout)
    assert answers["release"] == guest.kernel.release
    assert answers["info_len"] == INFO_LEN[guest.kernel.version]
    assert answers["prog_id"] in answers["prog_ids"]
    assert answers["prog_ids"] == sorted(set(answers["prog_ids"]))


def test_bpftool_sees_a_pinned_program(guest: Guest) -> None:
    if guest.run(["sh", "-c", "command -v bpftool"]).returncode:
        pytest.skip("bpftool is missing; run: apt-get install bpftool")
    answers = json.loads(guest.run(["python3", "tests/vm/ask_bpf.py", PIN]).stdout)
    shown = json.loads(guest.run(["bpftool", "-j", "prog", "show", "pinned", PIN]).stdout)
    assert shown["id"] == answers["prog_id"]
    assert shown["type"] == "raw_tracepoint"
    assert guest.run(["rm", PIN]).returncode == 0
