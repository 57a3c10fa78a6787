"""Types as C, judged by a compiler: it must take them, and lay them out as BTF tells."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.btf.declare import declare
from bpflens.btf.spell import spell
from bpflens.errors import FormatError

Tool = Callable[[str], str]


def compiled(source: str, directory: Path, tool: Tool, with_pahole: bool = False) -> Btf:
    """The BTF of what clang makes of C source; the test fails on a warning.

    clang writes BTF itself, but slowly; pahole makes it from DWARF, 30 times as fast.
    """
    path, object_, out = directory / "types.c", directory / "types.o", directory / "BTF"
    path.write_text(source + "\nint variable;\n")
    command = [tool("clang"), "-g", "-Wall", "-Wextra", "-Werror", "-c"]
    command += [] if with_pahole else ["-target", "bpf"]
    result = subprocess.run([*command, str(path), "-o", str(object_)], capture_output=True)
    assert result.returncode == 0, result.stderr.decode()[:2000]
    extract = (
        [tool("pahole"), f"--btf_encode_detached={out}"]
        if with_pahole
        else [tool("llvm-objcopy"), f"--dump-section=.BTF={out}"]
    )
    subprocess.run([*extract, str(object_)], check=True)
    return Btf.parse(out.read_bytes())


def with_variables(source: str) -> str:
    """Adds a variable of every struct, union and enum, so that the compiler keeps its type."""
    defined = re.findall(r"^(?:struct|union|enum) \w+(?= \{)", source, re.MULTILINE)
    return source + "".join(f"{kind} variable{n};\n" for n, kind in enumerate(defined))


Layout = tuple[str, str, int, tuple[tuple[str, int, int], ...]]


def layouts(btf: Btf) -> Counter[Layout]:
    """Kind, name, size and the places of all members, of every named type, as often as it is."""
    found: Counter[Layout] = Counter()
    for type_id in btf.ids():
        one = btf[type_id]
        if isinstance(one, (t.Composite, t.AnyEnum)) and one.name:
            kind = "enum" if isinstance(one, t.AnyEnum) else type(one).__name__
            places = tuple(_places(btf, one)) if isinstance(one, t.Composite) else ()
            found[kind, _plain(one.name), one.size, places] += 1
    return found


def _plain(name: str) -> str:
    """Without what the declarations add: a number, or the `_` that makes a keyword a name."""
    return re.sub(r"___\d+$", "", name).rstrip("_")


def _places(btf: Btf, found: t.Composite, at: int = 0) -> Iterator[tuple[str, int, int]]:
    for member in sorted(map(btf.place, found.members), key=lambda member: member.bit_offset):
        inner = btf.strip(member.type_id)
        if member.name.startswith(("___pad", "___unnamed")):
            continue
        if not member.name and isinstance(inner, t.Composite):
            yield from _places(btf, inner, at + member.bit_offset)
        else:
            # Neither pahole nor the kernel calls a field of all the bits of its type a bit field.
            bits = member.bitfield_size % (8 * btf.sizeof(member.type_id) or 1)
            yield _plain(member.name), at + member.bit_offset, bits


def test_this_kernels_types_compile_and_keep_their_layout(
    vmlinux: Btf, tmp_path: Path, tool: Tool
) -> None:
    source = declare(vmlinux)
    theirs = layouts(compiled(with_variables(source), tmp_path, tool, with_pahole=True))
    ours = layouts(vmlinux)
    assert sum(ours.values()) > 1000
    assert list((ours - theirs).elements()) == []


CASES = {
    "bit fields": "struct s { int a : 3; unsigned b : 7; _Bool c : 1; long d : 40; char e; };",
    "gaps in bits": "struct s { int a : 3; int : 5; int b : 7; int : 0; int c : 1; };",
    "a gap over bytes": "struct s { char a : 1; int : 30; long : 20; int b : 3; };",
    "packed": "struct s { char a; long b; short c : 5; } __attribute__((packed));",
    "packed bits": "struct s { char a : 3; int b : 30; } __attribute__((packed));",
    "packed in place": "struct s { int a; char b; } __attribute__((packed));",
    "aligned": "struct s { char a; int b __attribute__((aligned(64))); } __attribute__((aligned));",
    "packed and aligned": "struct s { char a; int b; } __attribute__((packed, aligned(16)));",
    "flexible array": "struct s { int n; struct { char a; } v[]; };",
    "array in the middle": "struct s { char a; long none[0]; char b; };",
    "empty": "struct s {}; struct t { int a; struct s e; int b; };",
    "anonymous nesting": "struct s { int a; union { struct { char b; long c; }; int d[5]; }; };",
    "union with padding": "union s { char a[5]; short b; } __attribute__((aligned(32)));",
    "packed union": "union s { char a[5]; int b; } __attribute__((packed));",
    "self": "struct s { struct s *next, **prev; };",
    "each other": "struct s { struct b *b; }; struct b { struct s s; };",
    "typedefs": "typedef struct q *qp; struct q { qp *a; }; struct s { struct q q; };",
    "variable arguments": "struct s { int (*f)(const char *, ...); };",
    "pointers": "struct s { int (*(*g)(void))[3]; char *(*h[2])(int); };",
    "qualifiers": "struct s { const char *const a; char *volatile *b; const int c[2][3]; };",
    "prototype": "struct l; struct s { int (*f)(struct l *l); };\nstruct l { int x; };",
    "enums": "enum s { A = -1, B = 5 }; struct t { enum s a; enum { C = 1 } b; };",
    "wide enum": "enum s { A = 1ULL << 63, B = 1 };",
    "wide signed enum": "enum s { A = -1, B = 1LL << 40, C = -9223372036854775807LL - 1 };",
    "unsigned enum": "enum s { A = 0xffffffffU };",
    "small enum": "enum s { A } __attribute__((packed)); struct t { enum s a; char b; };",
    "128 bits": "struct s { char a; __int128 b; long c; unsigned __int128 d; };",
    "floats": "struct s { char a; double b; float c; };",
    "names of another tag": "struct s { int a; }; typedef struct { int b; } u; struct t { u s; };",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_compiler_laid_out_is_laid_out_so_again(
    case: str, tmp_path: Path, tool: Tool
) -> None:
    first = compiled(with_variables(CASES[case].replace("; struct", ";\nstruct")), tmp_path, tool)
    source = declare(first)
    again = compiled(with_variables(source), tmp_path, tool)
    assert list((layouts(first) - layouts(again)).elements()) == [], source


def test_only_what_is_needed_is_declared() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, t.Int.SIGNED)
    far = builder.add_struct("far", 4, [("x", number, 0)])
    builder.add_struct("stray", 4, [("x", number, 0)])
    near = builder.add_struct("near", 8, [("far", builder.add_ptr(far), 0)])
    text = declare(Btf.parse(builder.build()), [near])
    assert text == "struct far;\n\nstruct near {\n\tstruct far *far;\n};\n"


def test_types_of_one_name_get_different_names() -> None:
    builder = BtfBuilder()
    builder.add_struct("twin", 0)
    second = builder.add_struct("twin", 4, [("x", builder.add_int("int", 4), 0)])
    builder.add_struct("user", 4, [("t", second, 0)])
    builder.add_enum("a", [("SAME", 1)])
    builder.add_enum("b", [("SAME", 2)])
    builder.add_fwd("twin", is_union=True)
    text = declare(Btf.parse(builder.build()))
    assert "struct twin {\n};" in text
    assert "struct twin___2 {\n\tint x;\n};" in text
    assert "\tstruct twin___2 t;" in text
    assert "SAME = 1" in text
    assert "SAME___2 = 2" in text
    assert "union twin___3;" in text


def test_names_that_c_does_not_know_are_made_identifiers(tmp_path: Path, tool: Tool) -> None:
    builder = BtfBuilder()
    number = builder.add_int("u32", 4)
    option = builder.add_struct("Option<u32>", 4, [("0", number, 0)])
    builder.add_struct("int", 4, [("for", option, 0)])
    builder.add_typedef("evil; int main(void) { }", number)
    text = declare(Btf.parse(builder.build()))
    assert "struct Option_u32_ {\n\tunsigned int _0;\n};" in text
    assert "evil;" not in text
    compiled(text, tmp_path, tool)


def test_members_that_overlap_are_told_in_a_comment(tmp_path: Path, tool: Tool) -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    builder.add_struct("variant", 8, [("b", number, 32), ("a", number, 0), ("c", number, 16)])
    text = declare(Btf.parse(builder.build()))
    assert "/* c: overlaps, at bit 16 */" in text
    compiled(text, tmp_path, tool)


def test_an_unnamed_member_with_a_tag_shows_its_content() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    inner = builder.add_struct("inner", 4, [("x", number, 0)])
    outer = builder.add_struct("outer", 4, [("", inner, 0)])
    text = declare(Btf.parse(builder.build()), [outer])
    assert text.endswith("struct outer {\n\tstruct {\n\t\tint x;\n\t};\n};\n")


def test_bit_fields_of_2018_are_declared() -> None:
    builder = BtfBuilder()
    three = builder.add_int("unsigned int", 4, bits=3, offset=2)
    builder.add_struct("old", 4, [("x", three, 8)])
    text = declare(Btf.parse(builder.build()))
    assert "\tunsigned char ___pad1[1];\n\tunsigned char :2;\n\tunsigned int x: 3;" in text


def test_variables_functions_and_sections_are_declared_when_asked_for() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    proto = builder.add_func_proto(number, [("x", number), ("", 0)])
    function = builder.add_func("add", proto)
    variable = builder.add_var("count", number, t.Var.STATIC)
    section = builder.add_datasec(".bss", 4, [(variable, 0, 4)])
    text = declare(Btf.parse(builder.build()), [function, section])
    assert "extern int add(int x, ...);" in text
    assert "static int count;" in text


def test_enumerations_keep_their_values_and_sizes(tmp_path: Path, tool: Tool) -> None:
    builder = BtfBuilder()
    wide = [("MOST", 2**64 - 1), ("HALF", 2**40), ("WORD", 2**32 - 1)]
    least = [("LEAST", -(2**63)), ("LARGE", 2**40)]
    builder.add_enum64("unsigned_one", wide)
    builder.add_enum64("signed_one", least, signed=True)
    builder.add_enum64("narrow", [("FEW", 1)])
    builder.add_enum("nothing", [])
    builder.add_enum("", [("LOOSE", 7)])
    text = declare(Btf.parse(builder.build()))
    assert "enum nothing {\n\tnothing___none = 0,\n};" in text
    assert "enum {\n\tLOOSE = 7,\n};" in text
    values = [*wide, *least, ("LOOSE", 7), ("FEW", 1)]
    checks = [f"_Static_assert({name} == {_c_literal(v)}, {name!r});" for name, v in values]
    sizes = {"unsigned_one": 8, "signed_one": 8, "narrow": 8, "nothing": 4}
    checks += [f'_Static_assert(sizeof(enum {n}) == {s}, "{n}");' for n, s in sizes.items()]
    compiled(text + "\n".join(checks).replace("'", '"'), tmp_path, tool)


def _c_literal(value: int) -> str:
    return f"({value + 1}LL - 1)" if value < 0 else f"{value}ULL"


def test_what_is_no_type_is_not_declared() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    tag = builder.add_decl_tag("mark", number)
    odd = builder.add_ptr(builder.add_datasec(".data", 0))
    btf = Btf.parse(builder.build())
    assert declare(btf, [tag]) == ""
    with pytest.raises(FormatError, match=r"DataSec .* is no type"):
        spell(btf, odd)


def test_unnamed_members_and_foreign_booleans_have_a_form_in_c(tmp_path: Path, tool: Tool) -> None:
    builder = BtfBuilder()
    boolean = builder.add_int("bool_", 1, t.Int.BOOL)
    odd = builder.add_int("odd", 3)
    builder.add_struct("s", 4, [("", boolean, 0), ("b", boolean, 8)])
    text = declare(Btf.parse(builder.build()))
    assert "_Bool ___unnamed1;\n\t_Bool b;" in text
    assert spell(Btf.parse(builder.build()), odd) == "unsigned int"
    compiled(text, tmp_path, tool)


def test_too_long_a_chain_of_needs_is_refused() -> None:
    builder = BtfBuilder()
    inner = builder.add_int("int", 4)
    for n in range(300):
        inner = builder.add_typedef(f"t{n}", inner)
    with pytest.raises(FormatError, match="needs too many others"):
        declare(Btf.parse(builder.build()), [inner])


def test_one_type_can_be_spelled() -> None:
    builder = BtfBuilder()
    anonymous = builder.add_struct("", 0)
    pointer = builder.add_ptr(builder.add_const(builder.add_struct("s", 0)))
    user = builder.add_ptr(builder.add_type_tag("user", pointer))
    u32 = builder.add_typedef("u32", builder.add_int("unsigned int", 4))
    variadic = builder.add_ptr(builder.add_func_proto(u32, [("", 0)]))
    callback = builder.add_ptr(builder.add_func_proto(u32, [("count", u32), ("", u32)]))
    btf = Btf.parse(builder.build())
    assert spell(btf, 0) == "void"
    assert spell(btf, pointer) == "const struct s *"
    assert spell(btf, pointer, "x") == "const struct s *x"
    assert spell(btf, anonymous) == "struct {...}"
    assert spell(btf, variadic, "f") == "u32 (*f)()"
    assert spell(btf, callback, "f") == "u32 (*f)(u32 count, u32)"
    assert spell(btf, user) == 'const struct s *__attribute__((btf_type_tag("user"))) *'


def test_types_without_end_are_refused() -> None:
    builder = BtfBuilder()
    itself = builder.add_struct("itself", 4, [("x", 1, 0)])
    anonymous = builder.add_struct("", 8, [("self", builder.next_id + 1, 0)])
    builder.add_ptr(anonymous)
    typedef = builder.add_typedef("anonymous", anonymous)
    btf = Btf.parse(builder.build())
    for bad in (itself, typedef):
        with pytest.raises(FormatError) as caught:
            declare(btf, [bad])
        assert 0 < caught.value.offset < btf.size


def test_a_section_that_holds_itself_declares_nothing() -> None:
    builder = BtfBuilder()
    section = builder.add_datasec(".data", 4, [(1, 0, 4)])
    assert declare(Btf.parse(builder.build()), [section]) == ""


def test_unnamed_members_without_end_are_refused() -> None:
    builder = BtfBuilder()
    anonymous = builder.add_struct("", 0, [("", 2, 0)])
    builder.add_union("", 0, [("", anonymous, 0)])
    typedef = builder.add_typedef("endless", anonymous)
    with pytest.raises(FormatError, match="nests"):
        declare(Btf.parse(builder.build()), [typedef])


def test_a_few_bytes_cannot_ask_for_endless_text() -> None:
    builder = BtfBuilder()
    inner = builder.add_struct("", 0)
    for _ in range(40):
        inner = builder.add_struct("", 0, [("", inner, 0), ("", inner, 0)])
    proto = builder.add_func_proto(0)
    for _ in range(40):
        pointer = builder.add_ptr(proto)
        proto = builder.add_func_proto(0, [("", pointer), ("", pointer)])
    structs = builder.add_typedef("structs", inner)
    functions = builder.add_typedef("functions", builder.add_ptr(proto))
    btf = Btf.parse(builder.build())
    for bad in (structs, functions):
        with pytest.raises(FormatError, match=r"repeat too often|too deep"):
            declare(btf, [bad])
