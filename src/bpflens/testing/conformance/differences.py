"""Where a kernel differs from Linux 6.18, and why: the only list of that, reviewed.

A row that no longer holds makes the suite fail, so the list cannot go stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple


class Difference(NamedTuple):
    """On these kernels, each of these checks fails, for this reason; both are shell patterns."""

    kernels: str
    checks: tuple[str, ...]
    reason: str
    fixed_later: bool = False
    """Whether updates of the same release brought the fix: only older builds of it differ."""


_NEWER_THAN_6_12 = {
    "sizeof(union bpf_attr) was smaller, so its last byte of today is beyond it: E2BIG": (
        "entry.tail_is_zero_to_the_end/*",
    ),
    "tags were SHA-1 until 6.17 (bpf_prog_calc_tag())": (
        "dumps.tag",
        "dumps.tag_without_map_fds/*",
        "dumps.tag_of_plain_wide_loads",
        "dumps.tags_of_functions",
    ),
    "stack traces could not be taken out: stack_map_lookup_and_delete_elem() is of 6.18": (
        "arrays.stack_traces",
    ),
    "programs have streams since 6.17": ("entry.closed_fd/stream_read", "running.stream"),
    "BTF_GET_FD_BY_ID had no further fields: open_flags and the token's fd came after 6.12": (
        "entry.by_id_ignores_the_next_id/btf",
        "tokens.types_by_id",
    ),
    "tokens tell what they allow since 6.17": ("tokens.info/*",),
    "a map's info ended with map_extra; its hash came with 6.18": (
        "info.length/map",
        "info.hash_of_a_frozen_array",
        "info.hash_of_a_map",
    ),
    "bpf_map_get_info_by_fd() zeroed its struct while there was nothing to ask for in it": (
        "info.echo/map_*",
    ),
    "fd_array has a length since 6.14": (
        "info.maps_of_an_fd_array",
        "loading.fd_array/*",
    ),
    "a raw tracepoint's link tells its cookie since 6.17, and has one since 6.10": (
        "links.raw_tracepoint_cookie",
    ),
    "the semaphore of a perf event's uprobe is told since 6.16": ("probes.uprobe_with_a_counter",),
    "links at probes have lines of their own in fdinfo since 6.16": (
        "probes.uprobe_in_fdinfo_with_its_place",
        "many_probes.places_in_fdinfo",
    ),
    "links to many places of files did not look at the flags of links until 6.16": (
        "many_probes.link_flags/places",
    ),
    "a link at a function tells its cookie since 6.16": ("functions.cookie",),
    "functions that trace may have stacks of their own since 6.13": (
        "verifier.stack_of_a_chain/[!s]*",
    ),
    "exclusive maps came with 6.18": (
        "typed_maps.exclusive_map",
        "typed_maps.exclusive_map_inside",
        "typed_maps.digest_that_cannot_be_read",
    ),
}

_NEWER_THAN_6_1 = {
    "arenas came with 6.9": (
        "access.freeze/arena",
        "arrays.arena_has_no_elements",
        "batch.types_without_batches/arena",
        "creation.smallest/arena",
        "creation.arena_is_memory",
        "files.memory/arena",
        "permissions.map/arena",
        "typed_maps.inner_map_of_type/arena",
    ),
    "storage of cgroups came with 6.2": (
        "storages.storage_is_not_walked/cgrp_storage",
        "storages.storage_of_a_cgroup",
        "typed_maps.local_storage/cgrp_storage",
    ),
    "links to socket maps came with 6.10": ("elsewhere.sockmap_link",),
    "tcx came with 6.6": (
        "clsact.filter_is_not_in_tcx",
        "devices.tcx*",
        "entry.what_is_looked_at_first/query_tcx",
        "references.program_is_kept/device_that_goes",
        "references.program_is_kept/tcx",
    ),
    "netfilter programs came with 6.4": (
        "loading.type/netfilter",
        "loading.attach_type/netfilter",
        "namespaces.netfilter/ipv4",
        "namespaces.netfilter_arguments/[!f]*",
        "namespaces.netfilter_priority_is_taken",
        "namespaces.netfilter_stays_as_it_is",
        "permissions.program/netfilter",
        "verifier.context_*/netfilter",
    ),
    "hooks for unix sockets came with 6.7": (
        "cgroups.hook/unix_connect",
        "loading.attach_type/cgroup_sock_addr",
    ),
    "cgroups got order and revisions together with the other hooks that have them": (
        "cgroups.before_and_after",
        "cgroups.expected_revision",
        "cgroup_links.before_a_link",
        "cgroups.preorder",
        "cgroups.relative_to_nothing",
        "cgroups.revision",
        "cgroups.revision_of_those_in_effect",
    ),
    "PROG_QUERY ended with prog_attach_flags until 6.6": ("namespaces.query_tells_no_revision",),
    "MAP_FREEZE looked at bpf_capable() instead of the fd's mode until 6.4": (
        "access.read_only_fd",
        "permissions.elements",
    ),
    "a second MAP_FREEZE was EBUSY before the mode was looked at": ("access.freeze/[!a]*",
                                                                     "access.freeze/array"),
    "log_true_size, a log that goes around, and a level without a buffer came with 6.4": (
        "btf_objects.log",
        "btf_objects.log_that_does_not_fit",
        "loading.log_level/*",
        "loading.log_that_does_not_fit",
        "loading.log_true_size",
    ),
    "a link's info was 48 bytes long": ("info.length/link", "info.echo_of_a_link"),
    "links of perf events tell what they are at since 6.6": (
        "links.perf_link",
        "probes.kprobe/*",
        "probes.uprobe/*",
        "probes.name_cut",
        "probes.software_event",
    ),
    "links to many functions tell which since 6.6": (
        "many_probes.functions/*",
        "many_probes.functions_addresses",
        "many_probes.functions_cookies",
        "many_probes.functions_cut",
    ),
    "links to many places of files came with 6.6": (
        "many_probes.places",
        "many_probes.places_[achotw]*",
    ),
    "netkit came with 6.7": ("netkit.*",),
    "a link at a function tells which in fdinfo since 6.2": ("functions.function_in_fdinfo",),
    "links of struct_ops came with 6.4": ("tables.link*",),
    "a program could be at a raw tracepoint once only": ("links.tracepoint_shared",),
    "BPF_F_XDP_DEV_BOUND_ONLY came with 6.3": ("loading.flag/bit_6",),
    "BPF_F_TEST_REG_INVARIANTS came with 6.8": ("loading.flag/bit_7",),
    "CAP_SYS_ADMIN does not stand for CAP_NET_ADMIN until bpf_net_capable()": (
        "permissions.map/devmap",
        "permissions.map/devmap_hash",
        "permissions.map/sockhash",
        "permissions.map/sockmap",
        "permissions.map/xskmap",
        "permissions.query",
        "permissions.attach_to_a_cgroup",
    ),
    "unprivileged callers were refused in __sys_bpf(), before any command looked at its attr": (
        "permissions.bad_map_before_permission/*",
        "permissions.order_of_a_load/flags",
    ),
    "bpf_prog_load() copied the license before it looked at the length": (
        "entry.what_is_looked_at_first/load_no_insns",
    ),
    "tokens came with 6.9": ("running.token_arguments", "tokens.*"),
    "sections in BTF had names like variables until any printable one would do": (
        "btf_objects.good/section_with_*",
    ),
    "stacks counted in steps of 32 bytes, and each function at least one": (
        "verifier.stack_to_the_end/all_of_it",
        "verifier.stack_to_the_end/two",
    ),
    "exceptions came with 6.7": ("verifier.function_for_exceptions/[!mu]*",
                                 "verifier.function_for_exceptions/unknown"),
    "a call stack too deep was EINVAL": ("verifier.bad/recursion", "verifier.calls_in_dead_code"),
}  # fmt: skip


_LINUX_ALONE: dict[str, dict[str, tuple[str, ...]]] = {
    "linux 7.2": {
        "struct bpf_map and its kin have other sizes; the engine has those of 6.18 throughout": (
            "files.memory/array",
            "files.memory/cgroup_storage",
            "files.memory/cpumap",
            "files.memory/devmap*",
            "files.memory/p*_array",
            "files.memory/queue",
            "files.memory/reuseport",
            "files.memory/ringbuf",
            "files.memory/sock*",
            "files.memory/stack_trace",
            "files.memory/xskmap",
        ),
        "values of one CPU can be read and written alone since 7.0 (BPF_F_CPU, BPF_F_ALL_CPUS)": (
            "arrays.flags/percpu_array",
            "batch.hash_flags/*percpu_hash",
            "hashes.flags/*percpu_hash",
        ),
        "pcpu_copy_value() copies the value alone, and what pads its slot is 0": (
            "hashes.padding_of_slots_is_kept/*percpu_hash",
        ),
        "a command may come with further attributes (BPF_COMMON_ATTRS), which -1 asks for": (
            "entry.unknown_command/negative",
        ),
        "the fd is looked at before the flags (bpf_map_check_op_flags())": (
            "entry.what_is_looked_at_first/lookup_flags",
        ),
        "the flags are looked at before the fd of whose storage it is": ("storages.storage_flags",),
        "BTF may have a tag behind a qualifier": (
            "btf_objects.bad_type/tag_behind_qualifier",
            "special_fields.objects_that_cannot_be/another_tag",
        ),
        "a header of BTF may be longer, for a layout of kinds": (
            "btf_objects.header/header_longer",
        ),
        "an address where no function begins is ENOENT": ("many_probes.functions_that_cannot_be",),
        "a path that is no file is ENOENT, since it may be an fd": (
            "many_probes.places_that_cannot_be",
        ),
        "a CPU with a wrong program is EINVAL": ("redirects.cpu_with_a_program",),
        "an AF_XDP socket needs its own room for completions: ENOBUFS": ("redirects.xsk_sockets",),
        "a call stack too deep is EINVAL, as before 6.2": (
            "verifier.bad/recursion",
            "verifier.calls_in_dead_code",
        ),
    },
    "linux 6.12": {
        "struct bpf_map and its kin had other sizes; the engine has those of 6.18 throughout": (
            "files.memory/array",
            "files.memory/cgroup_storage",
            "files.memory/cpumap",
            "files.memory/devmap*",
            "files.memory/*hash*",
            "files.memory/p*_array",
            "files.memory/queue",
            "files.memory/reuseport",
            "files.memory/ringbuf",
            "files.memory/sockmap",
            "files.memory/stack_trace",
            "files.memory/xskmap",
        ),
    },
    "linux 6.1": {
        "fdinfo told a guess in whole pages before map_mem_usage(), which came with 6.4": (
            "files.memory/[!a]*",
            "files.memory/array*",
        ),
        "locks were looked for when the map was made, in fewer ways; the engine does as in 6.18": (
            "storages.lock_and_freezing",
            "storages.lock_that_programs_cannot_take/writer",
            "storages.lock_where_none_can_be/*",
            "storages.locks_that_cannot_be/*",
            "special_fields.fields/inside",
            "special_fields.fields/in_an_array",
            "special_fields.fields/a_pointer",
            "special_fields.fields/pointers",
            "special_fields.fields/a_count",
            "special_fields.locks_inside/*",
            "special_fields.objects_that_cannot_be/*",
        ),
    },
}
"""What an engine that follows the release does not imitate."""


_FIXED_LATER: dict[str, dict[str, tuple[str, ...]]] = {
    "linux 6.1": {
        "bpf_prog_get_info_by_fd() did not look at the padding (Debian has the fix in 6.1.180)": (
            "info.padding_is_unknown/prog",
        ),
        "what is extended could be in an array: CVE-2024-47794 (fixed in Debian's 6.1.192)": (
            "functions.extended_program_in_an_array",
        ),
    },
}
"""Faults that stable updates mended: builds of a release differ. The engine has none of these."""


def _rows() -> Iterator[Difference]:
    for kernel, rows in _FIXED_LATER.items():
        for reason, checks in rows.items():
            yield Difference(kernel, checks, reason, fixed_later=True)
    for kernel, rows in _LINUX_ALONE.items():
        for reason, checks in rows.items():
            yield Difference(kernel, checks, reason)
    for reason, checks in _NEWER_THAN_6_12.items():
        for release in ("6.1", "6.12"):
            yield Difference(f"* {release}", checks, reason)
    for reason, checks in _NEWER_THAN_6_1.items():
        yield Difference("* 6.1", checks, reason)


DIFFERENCES = tuple(_rows())


OVER_ELEMENTS = ("bpf_map_elem", "bpf_sk_storage_map", "sockmap")
"""Iterators of which the program may write into what maps hold."""

BUILT_WITHOUT = (
    "this kernel has no act_bpf",
    "this kernel has no netkit devices",
    "this kernel has no perf events of kprobes",
    "this kernel is built without such probes",
    "this kernel refuses programs at functions",
    "this kernel refuses programs that extend others",
    *(f"this kernel refuses iterators over {target}" for target in OVER_ELEMENTS),
)
"""What a check may find that its kernel does not have, by that kernel's configuration: the check
then says nothing. The Linux 6.18 that is at hand has none of these; another may."""


def difference(kernel: str, check: str) -> Difference | None:
    """The row by which this kernel fails this check; None where it must pass."""
    for row in DIFFERENCES:
        if fnmatchcase(kernel, row.kernels) and any(fnmatchcase(check, c) for c in row.checks):
            return row
    return None
