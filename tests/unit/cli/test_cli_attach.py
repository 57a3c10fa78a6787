"""`attach list`, on the demo scene: every command reads it as it is, so one engine serves all."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from bpflens.cli.app import run


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    status = run(["--on", "engine:demo", "--json", *words])
    document = json.loads(capsys.readouterr().out)
    assert status == 0 or not document["complete"]
    return document


def test_the_program_of_a_device_by_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "attach", "list", "--where", 'kind == "xdp" and target == "eth0"')
    (item,) = found["items"]
    assert item["prog_name"] == "xdp_balance"
    assert len(item["prog_tag"]) == 16
    assert {"prog_id", "kind", "target", "order", "flags", "via", "link_id", "attach_type",
            "cookie", "holder"} <= item.keys()  # fmt: skip


def test_columns_of_attachments_in_csv(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--on", "engine:demo", "--csv", "attach", "list", "--columns", "target,prog_id,prog_tag"])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["target", "prog_id", "prog_tag"]
    assert any(row[0] == "eth0" for row in rows[1:])


def test_what_is_effective_at_a_cgroup(capsys: pytest.CaptureFixture[str]) -> None:
    whole = told(capsys, "attach", "list", "--where", 'kind == "cgroup"')["items"]
    own = [item for item in whole if item["target"] == "/web.slice/webapp.service"]
    found = told(capsys, "attach", "list", "--effective", "/web.slice/webapp.service")["items"]
    assert {item["prog_id"] for item in own} < {item["prog_id"] for item in found}
    assert {item["target"] for item in found} == {"/web.slice/webapp.service"}
    assert all("effective" in item["flags"] for item in found)
