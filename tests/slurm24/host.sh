#!/bin/sh
# Makes a host of new namespaces, and is its first process from then on: host.sh NAME FOLDER IMAGE
# [SHARED…]. Its disk is a layer in FOLDER/NAME over FOLDER/common over IMAGE; /tmp is its own; what
# is SHARED lies at the same path on all hosts.
set -eu
name=$1 folder=$2 image=$3
shift 3

hostname "$name"
root=$folder/$name/root
mkdir -p "$root" "$folder/$name/upper" "$folder/$name/work"
layers="lowerdir=$folder/common:$image,upperdir=$folder/$name/upper,workdir=$folder/$name/work"
mount -t overlay -o "$layers" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/run/lock"

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir -m 1777 "$root/dev/shm"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/full" c 1 7
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
mknod -m 666 "$root/dev/tty" c 5 0
# a node reports no GPU that has no device
mknod -m 666 "$root/dev/gpu0" c 1 3
mknod -m 666 "$root/dev/gpu1" c 1 3
ln -s /proc/self/fd "$root/dev/fd"

# the part of each hierarchy that FOLDER has, which this namespace takes for the whole
mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
for controller in memory cpuset freezer; do
    mkdir "$root/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "$root/sys/fs/cgroup/$controller"
done

for shared in "$@"; do
    mkdir -p "$root$shared"
    mount --rbind "$shared" "$root$shared"
done

cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
echo $$ >/run/booted
# it has to outlive all, and to bury whoever is left without parents
while :; do
    sleep 86400 &
    wait
done
