"""Debian's kernels, fetched by package name and unpacked into a cache folder, never installed.

The folder is `$BPFLENS_VM_CACHE`, else `bpflens/vm` below the XDG cache folder. Each kernel is one
folder in it; to get Debian's newest build, remove that folder and fetch again.
"""

from __future__ import annotations

import lzma
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KERNELS = ("6.1", "6.12")
"""Debian 12's own kernel, and Debian 13's that it has as a backport."""

# What a guest needs before it has a root; any other module it loads from the root, on demand.
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p")


class VmError(Exception):
    """What is missing or went wrong, with what would help."""


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
    cache = cache_folder()
    if not (cache / version).exists():
        package = package_of(version)
        cache.mkdir(parents=True, exist_ok=True)
        # All is made in a scratch folder and renamed at the end: half a kernel is never found.
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            folder = Path(scratch) / version
            unpack(package, folder)
            unpack("busybox-static", folder)
            prepare_modules(folder, package.removeprefix("linux-image-"))
            (folder / "proc").mkdir()  # modprobe, chrooted here, reads /proc/modules
            folder.rename(cache / version)
    return find(version)


def package_of(version: str) -> str:
    """The package that really holds the kernel: `linux-image-6.1.0-56-amd64`, say.

    A release's own kernel is what `linux-image-amd64` depends on; a backport has a name of its own.
    """
    names = (f"linux-image-{version}-amd64", "linux-image-amd64")
    for name in names:
        for line in call(["apt-cache", "depends", name], check=False).splitlines():
            kind, _, package = line.strip().partition(": ")
            if kind == "Depends" and package.startswith(f"linux-image-{version}."):
                return package
    raise VmError(
        f"apt offers no kernel {version} as {' or '.join(names)}; "
        "if its lists are empty, run: apt-get update"
    )


def unpack(package: str, folder: Path) -> None:
    """Fetch a Debian package and unpack it into a folder, without installing it."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        # apt would download as a user of its own, who may not write here: let it be who we are
        options = ["-qq", "-o", "APT::Sandbox::User=root"]
        try:
            call(["apt-get", *options, "download", package], cwd=Path(scratch))
        except VmError as error:
            raise VmError(f"{error}\nif apt's lists are old, run: apt-get update") from None
        for archive in Path(scratch).iterdir():
            call(["dpkg", "-x", str(archive), str(folder)])


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
    call([str(folder / "bin" / "busybox"), "depmod", "-b", str(folder), release])


def call(command: Sequence[str], *, cwd: Path | None = None, check: bool = True) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise VmError(f"{command[0]} is missing: the kernels are Debian packages") from None
    if check and done.returncode:
        raise VmError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout
