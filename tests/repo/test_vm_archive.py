"""Where kernels come from: the machine's own mirrors, and the packages that hold one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.vm.archive import mirrors, ranked
from tools.vm.kernels import releases

PRINTED = """\
'http://other.test/repo/dists/stable/InRelease' other_InRelease 0
'http://mirror.test/debian/dists/bookworm/InRelease' mirror_InRelease 0
'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror_Packages 0
'http://mirror.test/debian-security/dists/bookworm-security/InRelease' security_InRelease 0
"""


def test_the_likeliest_mirror_is_first() -> None:
    assert ranked(PRINTED, "sid")[0] == "http://mirror.test/debian"
    assert ranked(PRINTED, "bookworm-security")[0] == "http://mirror.test/debian-security"
    assert len(ranked(PRINTED, "sid")) == 3


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
def test_sources_of_both_formats_name_mirrors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text("deb [trusted=yes] http://one.test/debian sid main\n")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "two.sources").write_text(
        "Types: deb\nURIs: http://two.test/debian-security\nSuites: trixie-security\n"
        "Components: main\n"
    )
    configuration = tmp_path / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::SourceList "{tmp_path}/sources.list";\nDir::Etc::SourceParts "{parts}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    assert mirrors("sid") == ["http://one.test/debian", "http://two.test/debian-security"]
    assert mirrors("trixie-security")[0] == "http://two.test/debian-security"


def test_the_newest_plain_kernel_of_a_version_is_first() -> None:
    names = [
        "linux-image-6.1.0-9-amd64", "linux-image-6.1.0-57-amd64", "linux-image-6.1.0-57-rt-amd64",
        "linux-image-6.1.0-57-cloud-amd64", "linux-image-6.1.0-57-amd64-dbg",
        "linux-image-6.12-amd64", "linux-image-6.12.117+deb12-amd64",
        "linux-image-6.12.117+deb12-amd64-unsigned", "linux-image-7.2.13+deb14-amd64",
        "linux-image-7.3-amd64", "linux-image-7.3-rt-amd64",
    ]  # fmt: skip
    assert releases("6.1", names) == ["6.1.0-57-amd64", "6.1.0-9-amd64"]
    assert releases("6.12", names) == ["6.12.117+deb12-amd64", "6.12-amd64"]
    assert releases("7.2", names) == ["7.2.13+deb14-amd64"]
    assert releases("7.3", names) == ["7.3-amd64"]
