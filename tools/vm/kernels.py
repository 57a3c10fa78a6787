"""Debian's kernels and its newest bpftool, unpacked into a cache folder, never installed.

The folder is `$BPFLENS_VM_CACHE`, else `bpflens/vm` below the XDG cache folder: outside of the
repository, so a fresh clone finds what an older one fetched. Each kernel is one folder in it; to
get Debian's newest build, remove that folder and fetch again.
"""

from __future__ import annotations

import fcntl
import lzma
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.vm.archive import Suite, VmError, call

NEWEST = ("sid", "testing", "trixie-backports", "experimental")
"""Where the newest kernels are. What sid has replaced stays in the backports for some months."""

KERNELS = {
    "6.1": ("bookworm-security", "bookworm"),
    "6.12": ("bookworm-security", "bookworm-backports"),
    "7.2": NEWEST,
}
"""The kernels that the tests run on → the suites to take each from, the first that has it.

6.1 is Debian 12's own kernel, 6.12 Debian 13's that it has as a backport."""

# What a guest needs before it has a root; any other module it loads from the root, on demand.
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package, with busybox beside it so that one can chroot there."""

    version: str
    release: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.folder / "lib" / "modules" / self.release

    def boot_modules(self) -> list[Path]:
        """What of `BOOT_MODULES` is not built in, each after the modules that it needs."""
        chains: dict[str, list[str]] = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, needs = line.partition(":")
            # depmod writes what must be loaded first last
            chains[Path(path).stem] = [*reversed(needs.split()), path]
        wanted = (path for name in BOOT_MODULES for path in chains.get(name, ()))
        return [self.modules / path for path in dict.fromkeys(wanted)]


def cache_folder() -> Path:
    if named := os.environ.get("BPFLENS_VM_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpflens" / "vm"


def find(version: str) -> Kernel:
    """A kernel that was fetched before."""
    folder = cache_folder() / version
    for image in folder.glob("boot/vmlinuz-*"):
        return Kernel(version, image.name.removeprefix("vmlinuz-"), folder)
    raise VmError(f"no kernel {version} in {folder}; run: python -m tools.vm kernel {version}")


def fetch(version: str) -> Kernel:
    """A kernel, fetched and unpacked unless it is there."""
    made_once(version, lambda folder: unpack_kernel(version, folder))
    return find(version)


def find_bpftool() -> Path:
    """Debian's newest bpftool, as a program to run, that was fetched before."""
    program = cache_folder() / "bpftool" / "bpftool"
    if not program.exists():
        raise VmError(f"no {program}; run: python -m tools.vm bpftool")
    return program


def fetch_bpftool() -> Path:
    """The same, fetched and unpacked unless it is there."""
    made_once("bpftool", unpack_bpftool)
    return find_bpftool()


def suite(name: str) -> Suite:
    return Suite(name, cache_folder() / "apt")


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Alone among the processes that fetch into a cache folder."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(name: str, make: Callable[[Path], None]) -> None:
    """Let `make` fill a folder of the cache, unless that was done before."""
    cache = cache_folder()
    with locked(cache):
        if (cache / name).exists():
            return
        # All is made in a scratch folder and renamed at the end: half a kernel is never found.
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            folder = Path(scratch) / name
            folder.mkdir()
            make(folder)
            folder.rename(cache / name)


def unpack_kernel(version: str, folder: Path) -> None:
    """A kernel as `Kernel` describes it, from the first suite that has one of that version."""
    archive, release, packages = find_packages(version)
    archive.unpack(packages, folder)
    suite("sid").unpack(["busybox-static"], folder)
    join_usr(folder, release)
    prepare_modules(folder, release)
    (folder / "proc").mkdir()  # modprobe, chrooted here, reads /proc/modules


def find_packages(version: str) -> tuple[Suite, str, list[str]]:
    """Where Debian has a kernel whole: the suite, the newest release, and its packages."""
    suites = KERNELS.get(version, NEWEST)
    for archive in map(suite, suites):
        for release in releases(version, archive.names(f"linux-image-{version}")):
            image = f"linux-image-{release}"
            # Since 6.19 that package holds nothing, and depends on these.
            parts = {f"linux-{part}-{release}" for part in ("binary", "modules")}
            needs = parts.intersection(archive.depends(image))
            if needs <= set(archive.names("linux-")):  # archives keep halves of what was replaced
                return archive, release, [image, *sorted(needs)]
    raise VmError(f"Debian has no kernel {version} in {', '.join(suites)}")


def releases(version: str, packages: list[str]) -> list[str]:
    """The plain kernels of a version, the newest first: no cloud's, none for real time."""
    plain = re.compile(rf"linux-image-({re.escape(version)}(\.\d[^-]*)?(-\d+)?-amd64)")
    found = [match[1] for match in map(plain.fullmatch, packages) if match]
    return sorted(found, key=numbers, reverse=True)


def numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def join_usr(folder: Path, release: str) -> None:
    """Give packages that have all below `usr` the paths of the older ones."""
    for name in ("bin", "lib"):
        if not (folder / name).exists():
            (folder / name).symlink_to(f"usr/{name}")
    (folder / "boot").mkdir(exist_ok=True)
    for name in ("vmlinuz", "config"):
        if (folder / "lib/modules" / release / name).exists():
            link = folder / "boot" / f"{name}-{release}"
            link.symlink_to(f"../lib/modules/{release}/{name}")


def prepare_modules(folder: Path, release: str) -> None:
    """Make what `modprobe` needs, without the drivers of hardware that no guest has."""
    modules = folder / "lib" / "modules" / release
    drivers = modules / "kernel" / "drivers"
    hardware = [path for path in drivers.iterdir() if path.name not in {"net", "virtio"}]
    hardware += [drivers / "net" / name for name in ("ethernet", "usb", "wireless")]
    for path in (modules / "kernel" / "sound", *hardware):
        shutil.rmtree(path, ignore_errors=True)
    for path in modules.rglob("*.ko.xz"):
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()
    # kmod's: that of busybox takes no release like "7.3-amd64"
    call(["depmod", "-b", str(folder), release])


RUN_BPFTOOL = """\
#!/bin/sh
here=$(dirname "$0")
exec "$here/usr/lib64/ld-linux-x86-64.so.2" \\
    --library-path "$here/usr/lib/x86_64-linux-gnu" "$here/usr/sbin/bpftool" "$@"
"""


def unpack_bpftool(folder: Path) -> None:
    """sid's bpftool, which runs with sid's libraries: this machine's may be too old for it."""
    suite("sid").unpack_with_needs("bpftool", folder)
    program = folder / "bpftool"
    program.write_text(RUN_BPFTOOL)
    program.chmod(0o755)
