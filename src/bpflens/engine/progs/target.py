"""What a program is for that names its target by BTF (check_attach_btf_id())."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import AttachType, ProgType
from bpflens.btf import types as t
from bpflens.engine.call import err
from bpflens.errors import ENOTSUPP, FormatError

if TYPE_CHECKING:
    from bpflens.engine.progs.prog import Prog

_SLEEPY = (ProgType.LSM, ProgType.KPROBE, ProgType.STRUCT_OPS)
_AT_FUNCTIONS = (AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN)
_UNSUPPORTED = (("tcp_congestion_ops", "get_info"),)
"""bpf_struct_ops_supported()."""


def check_target(made: Prog) -> None:
    """check_attach_btf_id(), as far as types tell."""
    if made.type == ProgType.SYSCALL:
        if not made.sleepable:
            raise err(errno.EINVAL)
        return
    if made.sleepable and not _can_sleep(made):
        raise err(errno.EINVAL)
    if made.type == ProgType.STRUCT_OPS:
        _check_member(made)
    elif made.type in (ProgType.TRACING, ProgType.LSM, ProgType.EXT):
        check_function(made, made.target, made.attach_btf_id)


def returns_value(made: Prog) -> bool:
    """Whether the function that the program stands for has a result: check_return_code()."""
    btf = made.attach_btf
    if not btf or made.type not in (ProgType.STRUCT_OPS, ProgType.LSM):
        return True
    found = btf.types[made.attach_btf_id]
    if isinstance(found, t.Struct):
        pointer = btf.types.strip(found.members[made.attach_type].type_id)
        found = btf.types[pointer.to]  # type: ignore[attr-defined]
    else:
        found = btf.types[found.type_id]  # type: ignore[attr-defined]
    return bool(found.ret)  # type: ignore[attr-defined]


def _can_sleep(made: Prog) -> bool:
    """can_be_sleepable()."""
    if made.type == ProgType.TRACING:
        return made.attach_type in (*_AT_FUNCTIONS, AttachType.TRACE_ITER)
    return made.type in _SLEEPY


def check_function(made: Prog, target: Prog | None, id: int) -> None:
    """bpf_check_attach_target(): a function of the kernel, or of another program."""
    btf = target.btf if target else made.attach_btf
    extends = made.type == ProgType.EXT
    if not id or btf is None or (extends and not target):
        raise err(errno.EINVAL)
    try:
        found = btf.types[id]
    except FormatError as bad:
        raise err(errno.EINVAL) from bad
    if target:
        ids = [target.func_info[at + 4 : at + 8] for at in range(0, len(target.func_info), 8)]
        if id.to_bytes(4, "little") not in ids or (extends and target.type == made.type):
            raise err(errno.EINVAL)
    prefix = ""
    kind: type[t.Type] = t.Func
    if made.type == ProgType.LSM:
        prefix = "bpf_lsm_"
    elif made.type == ProgType.TRACING:
        if made.attach_type == AttachType.TRACE_RAW_TP:
            kind, prefix = t.Typedef, "btf_trace_"
        elif made.attach_type == AttachType.TRACE_ITER:
            prefix = "bpf_iter_"
        elif made.attach_type not in _AT_FUNCTIONS:
            raise err(errno.EINVAL)
    if not isinstance(found, kind) or not btf.types.type_name(id).startswith(prefix):
        raise err(errno.EINVAL)
    if made.type == ProgType.LSM and not made.gpl:
        raise err(errno.EINVAL)  # bpf_lsm_verify_prog()


def _check_member(made: Prog) -> None:
    """check_struct_ops_btf_id(): the function of a table that the program stands for."""
    if not made.gpl:
        raise err(errno.EINVAL)
    btf = made.attach_btf
    if btf is None or not made.attach_btf_id:
        raise err(ENOTSUPP)
    try:
        found = btf.types[made.attach_btf_id]
    except FormatError as bad:
        raise err(ENOTSUPP) from bad
    if not isinstance(found, t.Struct) or not btf.has_struct_ops(found):
        raise err(ENOTSUPP)
    if made.attach_type >= len(found.members):
        raise err(errno.EINVAL)
    member = found.members[made.attach_type]
    if not btf.is_function_pointer(member.type_id):
        raise err(errno.EINVAL)
    if (found.name, member.name) in _UNSUPPORTED:
        raise err(ENOTSUPP)
