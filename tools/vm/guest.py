"""A guest: boots with the host's root over 9p, then answers commands until it is left.

In the guest the host's files are read-only; `/tmp` and `/run` are empty and writable; `/run/share`
is a folder of the host; `/run/kernel` is the unpacked kernel (its config is in `boot` there); there
is no network but loopback. Commands run as root in this repository, and Python finds bpflens in it.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tools.vm.archive import VmError
from tools.vm.kernels import Kernel, cache_folder

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
BOOT_SECONDS = 120.0
CONTROL = "/run/vm"
"""The guest's name for the folder of requests."""
TIMED_OUT = 124  # timeout(1) says it so, or KILLED when it had to use force
KILLED = 128 + 9


class Done(subprocess.CompletedProcess[str]):
    """What came of a command, as subprocess tells it."""

    files: dict[str, bytes]
    """The files of the command's folder by their paths in it: those given, and those written."""


class Guest:
    """A running guest. It runs one command at a time."""

    path = (
        f"{os.path.dirname(sys.executable)}:"
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
    """Where programs are looked for, unless `env` says otherwise."""

    def __init__(self, kernel: Kernel, folder: Path, share: Path, memory: str) -> None:
        self.kernel = kernel
        self.share = share
        """The folder of the host that is `/run/share` in the guest."""
        self._console = folder / "console"
        self._control = folder / "control"
        self._control.mkdir()
        for script in ("loop.sh", "modprobe.sh"):
            shutil.copy(HERE / script, self._control)
        # What we run from may lie where the guest mounts file systems of its own.
        places = (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), cache_folder())
        needed = dict.fromkeys(place for place in places if place.exists())
        hidden = [path for path in needed if path.parts[1] in ("tmp", "run")]
        kept = {f"kept{number}": path for number, path in enumerate(hidden)}
        mounts = "".join(f"{tag} {path}\n" for tag, path in kept.items())
        initramfs = folder / "initramfs"
        write_initramfs(initramfs, kernel, mounts)
        self._count = 0
        self._heard = b""
        self.boot_seconds = 0.0
        """How long it took until it was ready."""
        # setpriv: when we are killed, the kernel ends QEMU too (prctl(2), PR_SET_PDEATHSIG)
        command = ["setpriv", "--pdeathsig", "KILL", qemu()]
        command += ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", memory]
        command += ["-nodefaults", "-no-reboot", "-display", "none", "-net", "none"]
        command += ["-kernel", str(kernel.image), "-initrd", str(initramfs)]
        command += ["-append", "console=ttyS0 quiet panic=-1 nokaslr mitigations=off"]
        command += ["-serial", f"file:{self._console}"]
        command += ["-chardev", "stdio,id=control,signal=off", "-serial", "chardev:control"]
        for tag, path in {"root": Path("/"), "kernel": kernel.folder, **kept}.items():
            command += ["-virtfs", export(tag, path, readonly=True)]
        for tag, path in {"control": self._control, "share": share}.items():
            command += ["-virtfs", export(tag, path, readonly=False)]
        self._qemu = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float = 60.0,
        input: str = "",
        env: Mapping[str, str] | None = None,
        stream: bool = False,
        files: Mapping[str, str | bytes] | None = None,
    ) -> Done:
        """Run a command in the guest: in this repository, or among files that it is given.

        Args:
            command: Program and arguments.
            timeout: Seconds after which the guest kills it; the guest itself lives on.
            input: What it reads from stdin.
            env: Added to the environment, which is not the host's.
            stream: Whether to print what it prints, while it does.
            files: Path → contents. They are in a folder of their own, in which the command runs,
                and come back with whatever it writes there. None: no such folder.

        Raises:
            subprocess.TimeoutExpired: It took too long.
            VmError: The guest panicked, or answers no more.
        """
        self._count += 1
        request = self._control / str(self._count)
        request.mkdir()
        variables = [f"{k}={v}" for k, v in {**environment(self.kernel), **(env or {})}.items()]
        limit = ["timeout", "--kill-after=5", str(timeout)]
        line = shlex.join(["env", "-i", *variables, *limit, *command])
        folder = request / "files"
        for name, contents in (files or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
        folder.mkdir(exist_ok=True)
        where = REPOSITORY if files is None else f"{CONTROL}/{self._count}/files"
        (request / "command").write_text(f"cd {shlex.quote(str(where))} && exec {line}\n")
        (request / "stdin").write_text(input)
        stdout, stderr = request / "stdout", request / "stderr"
        stdout.touch()
        stderr.touch()
        started = time.monotonic()
        self._say(str(self._count))
        with stdout.open("rb") as out, stderr.open("rb") as err:
            copied = [(out, sys.stdout.buffer), (err, sys.stderr.buffer)] if stream else []
            self._hear(str(self._count), started + timeout + 30, copied)
        done = Done(
            list(command),
            int((request / "status").read_text()),
            stdout.read_text(errors="replace"),
            stderr.read_text(errors="replace"),
        )
        done.files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }
        if done.returncode in (TIMED_OUT, KILLED) and time.monotonic() - started >= timeout:
            raise subprocess.TimeoutExpired(done.args, timeout, done.stdout, done.stderr)
        return done

    def console(self) -> str:
        """What the kernel printed."""
        return self._console.read_text(errors="replace").replace("\r", "")

    def wait_ready(self) -> None:
        started = time.monotonic()
        self._hear("ready", started + BOOT_SECONDS, [])
        self.boot_seconds = time.monotonic() - started

    def kill(self) -> None:
        """End it at once: nothing in it is worth saving, and what it shares is not cached."""
        self._qemu.kill()
        self._qemu.communicate()

    def _say(self, line: str) -> None:
        assert self._qemu.stdin
        try:
            self._qemu.stdin.write(f"{line}\n".encode())
        except BrokenPipeError:
            raise self._failure("is gone") from None

    def _hear(
        self, line: str, deadline: float, copied: Sequence[tuple[BinaryIO, BinaryIO]]
    ) -> None:
        """Wait until the guest says a line, and copy streams meanwhile."""
        assert self._qemu.stdout
        wanted = f"{line}\n".encode()
        while wanted not in self._heard:
            left = deadline - time.monotonic()
            if left <= 0:
                self._qemu.kill()  # so that nobody waits for it a second time
                raise self._failure("does not answer")
            ready = select.select([self._qemu.stdout], [], [], min(left, 0.1))[0]
            heard = self._qemu.stdout.read(4096) if ready else b""
            for source, sink in copied:
                sink.write(source.read())
                sink.flush()
            if ready and not heard:
                raise self._failure("ended")
            self._heard += heard
        self._heard = self._heard.partition(wanted)[2]

    def _failure(self, what: str) -> VmError:
        """What happened, with the last words of QEMU and of the guest's kernel."""
        printed = self.console() if self._console.exists() else ""
        lines = (self._heard.decode(errors="replace") + printed).splitlines()[-40:]
        before, panic, after = printed.partition("Kernel panic")
        if panic:
            what = "panicked"
            lines = [*before.splitlines()[-40:], *(panic + after).splitlines()[:12]]
        return VmError("\n".join([f"guest {self.kernel.release} {what}", *lines]))


@contextmanager
def boot(kernel: Kernel, *, share: Path | None = None, memory: str = "2G") -> Iterator[Guest]:
    """A guest with that kernel, ended when the block is left."""
    with tempfile.TemporaryDirectory(prefix="bpflens-vm-") as made:
        folder = Path(made)
        if not share:
            share = folder / "share"
            share.mkdir()
        guest = Guest(kernel, folder, share, memory)
        try:
            guest.wait_ready()
            yield guest
        finally:
            guest.kill()


def qemu() -> str:
    if found := shutil.which("qemu-system-x86_64"):
        return found
    install = "apt-get install --no-install-recommends qemu-system-x86"
    raise VmError(f"qemu-system-x86_64 is missing; run: {install}")


def export(tag: str, path: Path, *, readonly: bool) -> str:
    """QEMU's words for a folder that the guest mounts by 9p."""
    # remap: below the host's root are many file systems, whose inode numbers collide
    return (
        f"local,path={str(path).replace(',', ',,')},mount_tag={tag},security_model=none,"
        f"multidevs=remap,readonly={'on' if readonly else 'off'}"
    )


def environment(kernel: Kernel) -> dict[str, str]:
    """Python as it runs here, and no caches in the repository, which cannot be written to."""
    return {
        "PATH": Guest.path,
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(REPOSITORY / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
        "BPFLENS_VM": kernel.version,
    }


def write_initramfs(path: Path, kernel: Kernel, kept: str) -> None:
    """Write busybox, init.sh and what that loads and mounts as a cpio archive.

    The format is newc: Documentation/driver-api/early-userspace/buffer-format.rst in Linux.
    """
    files = [
        ("bin/busybox", 0o755, (kernel.folder / "bin" / "busybox").read_bytes()),
        ("init", 0o755, (HERE / "init.sh").read_bytes()),
        ("kept", 0o644, kept.encode()),
    ]
    for number, module in enumerate(kernel.boot_modules()):
        files.append((f"modules/{number:02}-{module.name}", 0o644, module.read_bytes()))
    entries = [(name, 0o040755, b"") for name in ("bin", "dev", "modules", "root")]
    entries += [(name, 0o100000 | mode, data) for name, mode, data in files]
    entries.append(("TRAILER!!!", 0, b""))
    with path.open("wb") as archive:
        for inode, (name, mode, data) in enumerate(entries, 1):
            # ino, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check
            numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
            head = b"070701" + b"".join(b"%08X" % number for number in numbers)
            for part in (head + name.encode() + b"\0", data):
                archive.write(part + bytes(-len(part) % 4))
