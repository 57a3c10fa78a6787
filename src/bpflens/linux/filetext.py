"""The iterator over open files in assembly, by what it does; `filerows` puts it together.

Registers that last: r6 the seq_file, r7 the struct file, r8 the struct task_struct; r9 the struct
sock. The words in capitals stand for statements that come often (`filerows`).
"""

from __future__ import annotations

BEGIN = """
    r7 = *(u64 *)(r1 +ctx_file)
    if r7 == 0 goto done                // the end of the walk
    r8 = *(u64 *)(r1 +ctx_task)
    if r8 == 0 goto done
    r2 = *(u32 *)(r1 +ctx_fd)
    *(u32 *)(r10 +fd) = r2
    r6 = *(u64 *)(r1 +0)
    r6 = *(u64 *)(r6 +meta_seq)
    r2 = *(u64 *)(r7 +file_f_op)
    if r2 == 0 goto done
    r4 = r2
    r2 = *(u64 *)(r4 +fops_release)
    if r2 != 0 goto closing
    r2 = *(u64 *)(r4 +fops_ioctl)
closing:
    r3 = *(u64 *)(r7 +file_private_data)
    *(u64 *)(r10 +word) = r3
"""

# Loading a pointer with its type costs the verifier a walk over all of the kernel's types
# (btf_nested_type_is_trusted()), half a millisecond each: what few files need is probed.
KIND = """
    r1 = release_KIND ll
    if r2 != r1 goto no_KIND
    *(u32 *)(r10 +kind) = kind_KIND
    r3 = *(u64 *)(r10 +word)
BODY
no_KIND:
"""
"""A file whose function is this kind's; r3 is its private data."""

NAMESPACE = """
    r3 = r7
    NEXT file_inode
    TAKE id inode_number 4
    goto write
"""

PROGRAM = """
    NEXT prog_aux
    TAKE id aux_id 4
    goto write
"""

OBJECT = """
    TAKE id KIND_id 4
    goto write
"""

# bpf_iter_release(): what seq->private points at is the end of a struct bpf_iter_priv_data. Where
# the walk is over a map's elements, that begins with the map (struct bpf_iter_seq_array_map_info
# and its like); the target's name says whether it is.
ITERATOR = """
    NEXT seq_private
    r9 = r3
    NEXT iterator_prog
    if r3 == 0 goto done
    NEXT prog_aux
    TAKE prog_id aux_id 4
    r3 = r9
    NEXT iterator_target
    NEXT target_reg
    NEXT reg_name
    TAKE word start 8
    r1 = *(u64 *)(r10 +word)
    r2 = of_elements ll
    if r1 == r2 goto of_map
    r2 = of_sockets ll
    if r1 == r2 goto of_map
    r2 = of_storage ll
    if r1 != r2 goto write
of_map:
    r3 = r9
    NEXT start
    if r3 == 0 goto write
    TAKE id map_id 4
    goto write
"""

PERF_EVENT = """
    r9 = r3
    NEXT event_prog
    if r3 == 0 goto done
    NEXT prog_aux
    TAKE prog_id aux_id 4
ZEROS
    FROM r9 cookie event_cookie 8
    FROM r9 event event_id 8
    FROM r9 config event_attr_config 8
    FROM r9 event_type event_attr_type 4
    r9 = sizeof_event
    goto number
"""

# struct sk_filter, struct sock_reuseport: of classic filters the ID is 0
SOCKET = """
    NEXT socket_sk
    if r3 == 0 goto done
    r9 = r3
    NEXT sock_filter
    if r3 == 0 goto unfiltered
    NEXT filter_prog
    NEXT prog_aux
    TAKE prog_id aux_id 4
unfiltered:
    r3 = r9
    NEXT sock_reuseport
    if r3 == 0 goto alone
    NEXT reuseport_prog
    if r3 == 0 goto alone
    NEXT prog_aux
    TAKE reuseport_id aux_id 4
alone:
    FROM r9 word sock_family 2
    r3 = r9
    r2 = *(u16 *)(r10 +word)
    if r2 == af_packet goto fanout
running:
    r1 = *(u64 *)(r10 +prog_id)         // and reuseport_id
    r2 = *(u32 *)(r10 +id)
    r1 |= r2
    if r1 == 0 goto done
ZEROS
    r3 = r7
    NEXT file_inode
    TAKE inode inode_number 8
    r3 = r9
    NEXT sock_net
    TAKE netns net_inum 4
    FROM r9 type sock_type 2
    FROM r9 protocol sock_protocol 2
    FROM r9 family sock_family 2
    r3 = r9
    r2 = *(u32 *)(r10 +family)
    if r2 == af_inet goto inet
    if r2 == af_inet6 goto inet6
    if r2 == af_unix goto unix
    if r2 == af_packet goto packet
    goto addressed
"""

INET = """
inet:
    TAKE local sock_rcv_saddr 4
    FROM r9 remote sock_daddr 4
ports:
    FROM r9 local_port sock_num 2
    FROM r9 remote_port sock_dport 2
    r1 = *(u16 *)(r10 +remote_port)
    r1 = be16 r1
    *(u32 *)(r10 +remote_port) = r1
    goto addressed
"""

INET6 = """
inet6:
    TAKE local sock_v6_rcv_saddr 16
    FROM r9 remote sock_v6_daddr 16
    goto ports
"""

# struct unix_address: len counts the family too
UNIX = """
unix:
    NEXT unix_addr
    if r3 == 0 goto addressed
    TAKE more address_len 4
    r2 = *(u32 *)(r10 +more)
    r2 += -2
    if r2 > 108 goto addressed
    r3 = *(u64 *)(r10 +word)
    r3 += address_path
    r3 += 2                             // behind sun_family
    r1 = r10
    r1 += path
    call probe_read_kernel
    goto addressed
"""

PACKET = """
packet:
    TAKE ifindex packet_ifindex 4
    FROM r9 protocol packet_num 2
    r1 = *(u16 *)(r10 +protocol)
    r1 = be16 r1
    *(u32 *)(r10 +protocol) = r1
    goto addressed
"""

# struct packet_fanout: bpf_prog shares its place with what other ways to share packets out need
FANOUT = """
fanout:
    NEXT packet_fanout
    if r3 == 0 goto running
    *(u64 *)(r10 +more) = r3
    TAKE word fanout_type 1
    r3 = *(u64 *)(r10 +more)
    r2 = *(u8 *)(r10 +word)
    if r2 != fanout_ebpf goto running
    NEXT fanout_prog
    if r3 == 0 goto running
    NEXT prog_aux
    TAKE id aux_id 4
    goto running
"""

END = """
addressed:
    r9 = sizeof_socket
    goto number
write:
    r9 = sizeof_file
number:
NUMBER
    r1 = r6
    r2 = r10
    r2 += row
    r3 = r9
    call seq_write
unsure:                                 // a fault: the process is just ending
done:
    r0 = 0
    exit
"""
