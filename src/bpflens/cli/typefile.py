"""Types from a file that a person names: raw BTF, or an ELF object that has a section of it."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from bpflens import limits
from bpflens.errors import BpflensError, Denied, NotFound
from bpflens.model.parts import Missing
from bpflens.model.system import System

if TYPE_CHECKING:
    from bpflens.btf import Btf

_PIECE = 1 << 20
_BEGINNINGS = (b"\x7fELF", b"\x9f\xeb", b"\xeb\x9f")
"""Of ELF, and of BTF in either byte order."""


def kernel_types(system: System) -> Btf:
    """The kernel's own types. Raises NotFound with the reason where they could not be had."""
    types = system.kernel_types()
    if isinstance(types, Missing):
        raise NotFound(f"the kernel's types cannot be read: {types.detail}")
    return types


def read_types(system: System, path: str, base: str | None = None) -> Btf:
    """The types in a file; `base` is what they continue: another file, or `vmlinux`.

    Raises NotFound, Denied, FormatError, BpflensError.
    """
    from bpflens.btf import Btf
    from bpflens.btf.elf import is_elf, section

    under = None
    if base == "vmlinux":
        under = kernel_types(system)
    elif base is not None:
        under = read_types(system, base)
    data = content(path)
    if is_elf(data):
        found = section(data, ".BTF")
        if found is None:
            raise NotFound(f"{path} has no section .BTF: compile with -g, for the target bpf")
        # A copy of the section alone: the rest of a large file need not stay in memory.
        data = bytes(found)
    return Btf.parse(data, under)


def content(path: str) -> bytes:
    """A file's bytes; of one that begins neither as ELF nor as BTF does, which may have no end, the
    first. Raises NotFound, Denied, BpflensError.
    """
    try:
        with open(path, "rb") as file:
            piece = file.read(64)
            if not piece.startswith(_BEGINNINGS):
                return piece
            # read() of so much would make room for all of that first
            whole = BytesIO()
            while piece:
                whole.write(piece)
                if whole.tell() > limits.FILE_BYTES.value:
                    raise BpflensError(f"{path} cannot be read: {limits.FILE_BYTES}")
                piece = file.read(_PIECE)
            return whole.getvalue()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except PermissionError as error:
        raise Denied(f"{path} cannot be read", "read permission on the file") from error
    except OSError as error:
        raise BpflensError(f"{path} cannot be read: {error.strerror}") from error
