"""Debian's archive, suite by suite: packages by name, downloaded and unpacked, never installed.

apt does the work with a configuration of our own: lists, cache and state are below our folder, so
that the machine's apt and dpkg keep theirs, and a suite that the machine does not follow (sid) can
be read. The mirrors are those of the machine's own sources, in whatever format those are written.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

FRESH = 3600.0
"""Seconds for which a suite's lists are not fetched again."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Of the package debian-archive-keyring: all suites are signed by its keys."""

CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "amd64";
APT::Default-Release "";
APT::Sandbox::User "root";
Acquire::Languages "none";
Debug::NoLocking "true";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/lists";
Dir::State::Status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::Archives "{folder}/archives";
Dir::Log "{folder}/log";
"""
# The hooks cleared are for the machine's own lists and packages (docker's empties its cache).
# Sandbox: apt would download as a user of its own, who may not write here: let it be who we are.
# Status: an empty file, to which every package is new, so that `install` downloads all it needs.


class VmError(Exception):
    """What is missing or went wrong, with what would help."""


class Suite:
    """One suite of Debian's archive, with its lists in a folder of its own.

    Raises VmError from its methods: no mirror has the suite, or the package is not in it.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder / name
        self._configuration = self._folder / "apt.conf"

    def names(self, prefix: str) -> list[str]:
        """The packages whose names begin so."""
        return self._ask("apt-cache", "pkgnames", prefix).split()

    def depends(self, package: str) -> list[str]:
        """The packages that one directly depends on, also those that are not in the suite."""
        lines = self._ask("apt-cache", "depends", package).splitlines()
        found = [line.split(": ")[1] for line in lines if line.startswith("  Depends: ")]
        return [name.strip("<>") for name in found]

    def unpack(self, packages: Sequence[str], folder: Path) -> None:
        """Download packages and unpack them into a folder."""
        self._update()
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            self._ask("apt-get", "-qq", "download", *packages, cwd=Path(scratch))
            extract(Path(scratch), folder)

    def unpack_with_needs(self, package: str, folder: Path) -> None:
        """The same with all that the package depends on, down to the C library."""
        self._update()
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            Path(scratch, "partial").mkdir()
            archives = ["-o", f"Dir::Cache::Archives={scratch}"]
            install = ["install", "--download-only", "--no-install-recommends", package]
            self._ask("apt-get", "-qq", "--yes", *archives, *install)
            extract(Path(scratch), folder)

    def _ask(self, program: str, *words: str, cwd: Path | None = None) -> str:
        self._update()
        return call([program, "-c", str(self._configuration), *words], cwd=cwd)

    def _update(self) -> None:
        """Fetch the suite's lists, unless that was done of late."""
        stamp = self._folder / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < FRESH:
            return
        for name in ("state", "lists/partial", "cache", "archives/partial", "log"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        self._configuration.write_text(CONFIGURATION.format(folder=self._folder))
        failures = []
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        for mirror in mirrors(self.name):
            source = f"deb {signed}{mirror} {self.name} main\n"
            (self._folder / "sources.list").write_text(source)
            try:
                update = ["update", "-qq", "--error-on=any"]
                call(["apt-get", "-c", str(self._configuration), *update])
            except VmError as failure:
                failures.append(str(failure))
                continue
            stamp.touch()
            return
        failures = failures or ["the machine's apt sources name no mirror"]
        raise VmError("\n".join([f"no mirror has Debian's suite {self.name}", *failures]))


def mirrors(suite: str) -> list[str]:
    """Addresses that may have a suite, the likeliest first, from the machine's own apt sources."""
    with tempfile.TemporaryDirectory() as empty:
        # With no lists apt names the index of every source, whatever file and format it is in.
        options = ["-o", f"Dir::State::Lists={empty}", "-o", "Debug::NoLocking=true"]
        return ranked(call(["apt-get", *options, "--print-uris", "update"]), suite)


def ranked(printed: str, suite: str) -> list[str]:
    """The mirrors in what `apt-get --print-uris update` prints, the likeliest for a suite first."""
    # Security updates have a mirror of their own; apt knows sources that are not Debian's, too.
    security = suite.endswith("-security")
    found = re.findall(r"^'(\S+?)/dists/(\S+)/InRelease'", printed, re.MULTILINE)
    addresses = dict.fromkeys(mirror for mirror, _ in found)
    secure = {mirror for mirror, of in found if "security" in of}
    return sorted(
        addresses, key=lambda mirror: ((mirror in secure) != security, "debian" not in mirror)
    )


def extract(archives: Path, folder: Path) -> None:
    """Unpack all packages of a folder into another one."""
    for archive in sorted(archives.glob("*.deb")):
        call(["dpkg", "-x", str(archive), str(folder)])


def call(command: Sequence[str], *, cwd: Path | None = None) -> str:
    """What a program prints; VmError when it fails or is not there."""
    # sbin: it is not on every user's path
    path = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    if path is None:
        raise VmError(f"{command[0]} is missing; run: apt-get install {PACKAGES[command[0]]}")
    done = subprocess.run(
        [path, *command[1:]], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise VmError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


PACKAGES = {"apt-get": "apt", "apt-cache": "apt", "dpkg": "dpkg", "depmod": "kmod"}
"""Program → the Debian package that it is in."""
