"""The limits of what is read of this machine, lowered: what is beyond is told."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpflens import limits
from bpflens.abi.enums import MapType, ProgType
from bpflens.abi.infos import MapInfo
from bpflens.linux.foreign import Foreign
from bpflens.model.parts import Reason, because
from bpflens.model.system import System
from bpflens.testing.builders import map as new_map
from bpflens.testing.builders import program
from tests.kernel.conftest import Ran


@pytest.fixture
def pinned(system: System, held: Callable[[int], int], bpffs: Path) -> tuple[str, str]:
    """(ID, pin) of a map, which is in a directory; there is a program of the network, too."""
    fd = held(new_map(system.calls, MapType.ARRAY, name="limit"))
    (bpffs / "folder").mkdir()
    system.calls.obj_pin(fd, str(bpffs / "folder" / "pin"))
    held(program(system.calls, type=ProgType.SCHED_CLS))
    return str(system.calls.info(fd, MapInfo).id), str(bpffs / "folder" / "pin")


def cut(found: Ran, limit: limits.Limit) -> Any:
    """The document of a look that a limit cut short."""
    told = json.loads(found.stdout)
    assert (found.status, told["complete"]) == (1, False), found.stderr
    assert any(
        each["error"].startswith("limited: ") and str(limit) in each["error"]
        for each in told["errors"]
    ), told["errors"]
    return told


@pytest.mark.parametrize("name", ["PINS", "PIN_NAMES", "PIN_TRIES", "MOUNTINFO_BYTES"])
def test_pins_beyond_a_limit_are_told(
    run: Callable[..., Ran], pinned: tuple[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    id, path = pinned
    show = ("map", "show", id, "--parts", "all", "--json")
    (before,) = json.loads(run(*show).stdout)["items"]
    assert before["pinned"] == [path]
    limit = limits.TABLE[name]
    monkeypatch.setattr(limit, "value", 1 if name == "MOUNTINFO_BYTES" else 0)
    (item,) = cut(run(*show), limit)["items"]
    assert item["pinned"] is None
    assert item["missing"]["pinned"].startswith("limited: ")
    assert any(str(limit) in each for each in item["unseen"])
    told = cut(run("why", "map", id, "--json"), limit)
    assert any(str(limit) in each["what"] for each in told["items"][0]["unseen"])
    checks = json.loads(run("doctor", "--json").stdout)["items"]
    assert next(each for each in checks if each["check"] == "pins")["ok"] is False
    if name != "PINS":
        return
    for words in (["map", "list"], ["prog", "list"], [], ["graph"]):
        cut(run(*words, "--json"), limit)
    orphans = cut(run("orphans", "--json"), limit)["items"]
    ours = [each for each in orphans if id in map(str, each["ids"])]
    assert not any(each["certain"] for each in ours)


def test_mounts_of_others_beyond_a_limit_are_told(
    run: Callable[..., Ran], pinned: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.MOUNTINFOS_BYTES, "value", 1)
    for words in (["why", "map", pinned[0]], ["orphans"], ["prog", "list", "--parts", "all"]):
        cut(run(*words, "--json"), limits.MOUNTINFOS_BYTES)


def test_a_table_that_changes_all_the_time_is_told(
    run: Callable[..., Ran], pinned: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.NETLINK_TRIES, "value", 0)
    for words in (["attach", "list"], [], ["orphans"], ["prog", "list", "--parts", "all"]):
        cut(run(*words, "--json"), limits.NETLINK_TRIES)


def test_a_file_system_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.FOREIGN_SECONDS, "value", 0)
    root = os.open("/", os.O_PATH)
    try:
        with pytest.raises(OSError, match=str(limits.FOREIGN_SECONDS)) as caught:
            Foreign()._in_child(root, b"proc", os.O_PATH, 0)
    finally:
        os.close(root)
    assert caught.value.errno == errno.ETIMEDOUT
    assert because(caught.value).reason is Reason.LIMITED
