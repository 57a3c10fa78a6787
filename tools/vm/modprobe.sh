#!/bin/sh
# What the kernel calls to load a module (cls_bpf, veth, ...): the host's root has neither these modules
# nor, perhaps, kmod; the unpacked kernel has both the modules and busybox.
exec chroot /run/kernel /bin/busybox modprobe "$@"
