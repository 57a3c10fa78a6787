"""Names that are not UTF-8 on the live kernel: what it takes, and what its readers are told."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.infos import MapInfo
from bpflens.rawtext import raw, shown
from bpflens.testing import rtnetlink
from bpflens.testing.builders import map, program
from bpflens.testing.hooks import id_of
from bpflens.testing.on_linux import LinuxBench
from tests.unit.strict import replaced, strict

PERL = "local $/; print JSON::PP->new->ascii->encode(JSON::PP->new->utf8->decode(<>))"
HOLDER = """
import ctypes, sys, time
assert ctypes.CDLL(None).prctl(15, b"com\\xff\\xfe", 0, 0, 0) == 0  # PR_SET_NAME
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def holder(fd: int) -> Iterator[int]:
    """The pid of a process whose name is not UTF-8, which has this fd open."""
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(fd,)) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == b"ready\n"
            yield child.pid
        finally:
            child.kill()


def bpflens(*words: str) -> bytes:
    env = os.environ | {"LC_ALL": "C"}
    command = [sys.executable, "-m", "bpflens", *words]
    done = subprocess.run(command, capture_output=True, env=env, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def told(*words: str) -> tuple[Any, list[bytes]]:
    """A document, which others take too, and the bytes of what is not UTF-8 in it."""
    data = bpflens(*words, "--json")
    found = strict(data)
    for reader in (["jq", "."], ["perl", "-MJSON::PP", "-e", PERL]):
        if shutil.which(reader[0]) is None:
            pytest.skip(f"{reader[0]} is not installed")
        done = subprocess.run(reader, input=data, capture_output=True, check=True)
        assert strict(done.stdout) == found
    return found, replaced(found)


def test_one_name_blinds_no_reader(bench: LinuxBench) -> None:
    calls = bench.calls
    device = "xdp\udcff\udcfe0"
    rtnetlink.add_pair(device, "veth")
    kind, xdp = AttachType.CGROUP_INET_EGRESS, AttachType.XDP
    first = program(calls, "r0 = 2; exit", ProgType.XDP, name=b"live_\xff\xe9")
    link = calls.link_create(
        LinkCreate(prog_fd=first, target_fd=socket.if_nametoindex(device), attach_type=xdp)
    )
    table = map(calls, MapType.ARRAY, name=b"map_\xff\xe9")
    above = bench.cgroup().path
    inner = f"{above}/in\udcff.slice"
    os.mkdir(inner)
    folder = f"{bench.bpffs()}/d\udcff"
    os.mkdir(folder)
    pin = f"{folder}/pin\udcfe"
    calls.obj_pin(first, pin)
    id, map_id = id_of(calls, first), calls.info(table, MapInfo).id
    try:
        cgroup = bench.folder(inner)
        skb = program(calls, "r0 = 1; exit", ProgType.CGROUP_SKB, attach_type=kind)
        calls.prog_attach(ProgAttach(target_fd=cgroup, attach_bpf_fd=skb, attach_type=kind))
        with holder(table) as pid:
            _, names = told("prog", "list")
            assert {b"live_\xff\xe9", raw(pin)} <= set(names)
            assert b"map_\xff\xe9" in told("map", "list")[1]
            _, names = told("attach", "list")
            assert raw(device) in names
            assert any(name.endswith(b"/in\xff.slice") for name in names)
            shows, _ = told("map", "show", str(map_id))
            holders = shows["items"][0]["holders"]
            assert [each["comm_hex"] for each in holders if each["pid"] == pid] == ["636f6dfffe"]
            assert f"pid:{pid}" in str(told("why", "map", str(map_id))[0])
            assert told("graph")[1]
        for given in (pin, shown(pin)):
            (item,) = told("prog", "show", f"pin:{given}")[0]["items"]
            assert item["id"] == id
        for given in (b"live_\xff\xe9".decode(errors=e) for e in ("surrogateescape", "replace")):
            items = told("prog", "list", "--where", f'name == "{given}"')[0]["items"]
            assert [item["id"] for item in items] == [id]
        assert shown(device).encode() in bpflens("attach", "list", "--csv")
    finally:
        os.rmdir(inner)
        calls.close(link)
