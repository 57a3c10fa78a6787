"""What came with Linux 6.19 to 7.2, on 7.2: by its name wherever it is shown, as bpftool has it.

Debian's libbpf makes none of it: `newest.py` does, by bpf(2) alone.
"""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from tests.kernel.test_beside_bpftool import MAP_KEYS, PROGRAM_KEYS, compared
from tests.vm.newest import ELEMENTS, FUNCTIONS, LATIN
from tools.vm.guest import REPOSITORY, Guest

pytestmark = [pytest.mark.vm, pytest.mark.kernels("7.2")]

BPFLENS = ("bpflens",)
COMMANDS = {
    "progs": [*BPFLENS, "prog", "list", "--json"],
    "maps": [*BPFLENS, "map", "list", "--json"],
    "links": [*BPFLENS, "link", "list", "--json"],
    "attached": [*BPFLENS, "attach", "list", "--json"],
    "table": [*BPFLENS, "link", "list"],
    "by_type": [*BPFLENS, "link", "list", "--type", "tracing_multi", "--json"],
    "rhashes": [*BPFLENS, "map", "list", "--type", "rhash", "--json"],
    "graph": [*BPFLENS, "graph", "--json"],
    "tree": [*BPFLENS, "graph"],
    "why_entry": [*BPFLENS, "why", "prog", "{entry}"],
    "why_jumps": [*BPFLENS, "why", "map", "{jumps}"],
    "why_link": [*BPFLENS, "why", "link", "{both_link}"],
    "jumps": [*BPFLENS, "map", "dump", "{jumps}", "--json"],
    "jumps_table": [*BPFLENS, "map", "dump", "{jumps}"],
    "grows": [*BPFLENS, "map", "dump", "{grows}", "--json"],
    "slot": [*BPFLENS, "map", "lookup", "{jumps}", "hex:00000000", "--json"],
    "their_progs": ["bpftool", "-j", "prog", "show"],
    "their_maps": ["bpftool", "-j", "map", "show"],
    "their_links": ["bpftool", "-j", "link", "show"],
    "their_jumps": ["bpftool", "-j", "map", "dump", "id", "{jumps}"],
    "their_grows": ["bpftool", "-j", "map", "dump", "id", "{grows}"],
    "delete": [*BPFLENS, "map", "delete", "{grows}", f"hex:{LATIN.hex()}"],
    "their_grows_later": ["bpftool", "-j", "map", "dump", "id", "{grows}"],
}


class World:
    """What the commands printed beside the new objects, and the objects' IDs."""

    def __init__(self, files: dict[str, bytes]) -> None:
        made = json.loads(files["made.json"])
        self.ids: dict[str, int] = made["ids"]
        self.functions: list[int] = made["functions"]
        self.detached: int = made["detached"]
        self._files = files

    def text(self, command: str) -> str:
        return self._files[command].decode()

    def json(self, command: str) -> Any:
        try:
            return json.loads(self._files[command])
        except ValueError:
            raise AssertionError(self.text(command)) from None

    def item(self, command: str, name: str, key: str = "id") -> dict[str, Any]:
        """What a list tells of an object."""
        return one(self.json(command)["items"], key, self.ids[name])

    def theirs(self, command: str, name: str) -> dict[str, Any]:
        return one(self.json(command), "id", self.ids[name])


def one(items: list[dict[str, Any]], key: str, value: object) -> dict[str, Any]:
    (found,) = [item for item in items if item[key] == value]
    return found


@pytest.fixture(scope="module")
def world(guest: Guest, bpftool: str) -> World:
    script = f"{REPOSITORY}/tests/vm/newest.py"
    env = {"PATH": f"{bpftool.rpartition('/')[0]}:{guest.path}"}
    done = guest.run(
        ["python3", script], input=json.dumps(COMMANDS), files={}, env=env, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return World(done.files)


# --- programs and maps


@pytest.mark.parametrize("name", ["entry", "exits", "both", "session", "jumper"])
def test_a_program_is_as_bpftool_has_it(world: World, name: str) -> None:
    ours, theirs = world.item("progs", name), world.theirs("their_progs", name)
    count, wrong = compared([ours], [theirs], PROGRAM_KEYS)
    assert wrong == []
    assert count >= 10
    assert ours["name"] == name


@pytest.mark.parametrize(("name", "type"), [("jumps", "insn_array"), ("grows", "rhash")])
def test_a_map_is_as_bpftool_has_it(world: World, name: str, type: str) -> None:
    ours, theirs = world.item("maps", name), world.theirs("their_maps", name)
    count, wrong = compared([ours], [theirs], MAP_KEYS)
    assert wrong == []
    assert count >= 8
    assert ours["type"] == theirs["type"] == type


@pytest.mark.parametrize("name", ["jumps", "grows"])
def test_elements_are_as_bpftool_has_them(world: World, name: str) -> None:
    ours, theirs = world.json(name), world.json(f"their_{name}")

    def hexed(octets: list[str]) -> str:
        return bytes(int(octet, 16) for octet in octets).hex()

    expected = {hexed(each["key"]): hexed(each["value"]) for each in theirs}
    assert {each["key"]: each["value"] for each in ours["items"]} == expected
    assert (ours["complete"], len(ours["items"])) == (True, len(theirs))


def test_a_hash_that_grew_is_read_whole(world: World) -> None:
    read = {each["key"]: each["value"] for each in world.json("grows")["items"]}
    little = {k.to_bytes(4, "little").hex(): (k * k).to_bytes(8, "little").hex()
              for k in range(ELEMENTS)}  # fmt: skip
    assert read == little | {LATIN.hex(): bytes(8).hex()}


def test_an_array_of_instructions_says_where_they_are(world: World) -> None:
    slots = world.json("jumps")["items"]
    assert [each["orig_off"] for each in slots] == [0, 1, 2, 3]
    first, *_, last = slots
    assert (first["xlated_off"], first["missing"]) == (0, {})
    # the verifier found that it is never run
    why = "none: the verifier took the instruction out"
    assert (last["xlated_off"], last["jitted_off"]) == (None, None)
    assert last["missing"] == {"xlated_off": why, "jitted_off": why}
    machine = [each["jitted_off"] for each in slots if each["jitted_off"] is not None]
    assert machine == sorted(machine)
    assert 0 < machine[0] < world.item("progs", "jumper")["jited_bytes"]
    assert world.json("slot")["items"] == [first]
    assert "XLATED" in world.text("jumps_table")


def test_an_element_of_a_hash_that_grows_is_deleted(world: World) -> None:
    assert LATIN.hex() in world.text("grows")
    assert LATIN.hex() not in world.text("their_grows_later").replace('","', "").replace("0x", "")


# --- links


@pytest.mark.parametrize("name", ["entry", "exits", "both"])
def test_a_link_to_many_functions_tells_all_of_it(world: World, name: str) -> None:
    link = f"{name}_link"
    ours, theirs = world.item("links", link), world.theirs("their_links", link)
    assert (ours["type"], ours["prog_id"]) == (theirs["type"], theirs["prog_id"])
    assert (ours["type"], ours["kind"]) == ("tracing_multi", "tracing_multi")
    hooks = {"entry": "trace_fentry_multi", "exits": "trace_fexit_multi",
             "both": "trace_fsession_multi"}  # fmt: skip
    assert (ours["attach_type"], ours["prog_name"]) == (hooks[name], name)
    count = 1 if name == "exits" else 2
    assert ours["probe_count"] == count
    assert ours["target"] == (FUNCTIONS[0] if count == 1 else "2 functions")
    # in the kernel's order, which is that of the types
    told = zip(ours["functions"], ours["target_btf_ids"], ours["cookies"], strict=True)
    cookies: dict[str, list[int]] = {"entry": [7, 8], "exits": [0], "both": [1 << 60, 0]}
    given = zip(FUNCTIONS, world.functions, cookies[name], strict=False)
    assert sorted((f, id, int(cookie)) for f, id, cookie in told) == sorted(given)


def test_what_this_kernel_does_not_tell_is_unsupported_and_not_none(world: World) -> None:
    link = world.item("links", "entry_link")
    assert link["missing"]["addrs"].startswith("unsupported: ")
    for field, why in link["missing"].items():
        if field in ("attach_type", "addrs", "cookies", "probe_count", "target_btf_ids"):
            assert not why.startswith("none"), field


def test_a_link_to_a_session_is_as_bpftool_has_it(world: World) -> None:
    ours, theirs = world.item("links", "session_link"), world.theirs("their_links", "session_link")
    for field in ("type", "prog_id", "prog_type", "attach_type", "target_obj_id", "target_btf_id",
                  "cookie"):  # fmt: skip
        assert ours[field] == theirs[field], field
    assert (ours["kind"], ours["target"]) == ("tracing", FUNCTIONS[1])


def test_links_are_chosen_by_the_name_of_their_type(world: World) -> None:
    ids = {world.ids[name] for name in ("entry_link", "exits_link", "both_link")}
    assert {each["id"] for each in world.json("by_type")["items"]} == ids
    assert [each["id"] for each in world.json("rhashes")["items"]] == [world.ids["grows"]]
    assert world.text("table").count("tracing_multi") >= 3


def test_such_a_link_ends_with_its_last_holder(world: World) -> None:
    assert world.detached == errno.EOPNOTSUPP


# --- attachments, holders, the graph


@pytest.mark.parametrize("name", ["entry", "exits", "both", "session"])
def test_an_attachment_says_what_its_link_says(world: World, name: str) -> None:
    link = world.item("links", f"{name}_link")
    attached = world.item("attached", f"{name}_link", "link_id")
    for field in ("kind", "target", "attach_type", "prog_id", "prog_name", "prog_type"):
        assert attached[field] == link[field], field
    assert attached["via"] == "link"


def test_why_names_them(world: World) -> None:
    assert "tracing_multi" in world.text("why_entry")
    assert "tracing_multi" in world.text("why_link")
    assert "jumper" in world.text("why_jumps")


def test_the_graph_has_them(world: World) -> None:
    nodes = {node["key"]: node for node in world.json("graph")["nodes"]}
    for name in ("entry", "exits", "both"):
        assert nodes[f"link:{world.ids[f'{name}_link']}"]["type"] == "tracing_multi"
    assert nodes[f"map:{world.ids['jumps']}"]["type"] == "insn_array"
    assert nodes[f"map:{world.ids['grows']}"]["type"] == "rhash"
    assert "tracing_multi" in world.text("tree")
