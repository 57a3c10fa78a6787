#!/bin/busybox sh
# The guest's first process, in the initramfs: mount everything, then become loop.sh in the root.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in /modules/*; do
    insmod "$module"
done

nine() { # tag, where, options
    mkdir -p "/root$2"
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "/root$2"
}

nine root / ro,cache=loose
mount -t tmpfs -o mode=1777 tmp /root/tmp
mount -t tmpfs -o mode=755 run /root/run
# What host and guest both write is not cached, so that either reads it at once.
nine kernel /run/kernel ro,cache=loose
nine control /run/vm rw,cache=none
nine share /run/share rw,cache=none
while read -r tag where; do
    nine "$tag" "$where" ro,cache=loose
done </kept

mount -t proc proc /root/proc
mount --bind /root/proc /root/run/kernel/proc
mount -t sysfs sys /root/sys
mount -t bpf bpf /root/sys/fs/bpf
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t tracefs trace /root/sys/kernel/tracing
mount -t debugfs debug /root/sys/kernel/debug
mount --move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts pts /root/dev/pts
mount -t tmpfs -o mode=1777 shm /root/dev/shm

echo /run/vm/modprobe.sh >/root/proc/sys/kernel/modprobe
ip link set lo up
stty -F /root/dev/ttyS1 raw -echo
# Not chroot: to who is chrooted the kernel refuses user namespaces (kernel/user_namespace.c,
# create_user_ns).
exec switch_root /root /bin/sh /run/vm/loop.sh
