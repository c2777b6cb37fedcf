#!/bin/busybox sh
# First process of the lab. Runs /lab/command and reports on three virtio-serial ports:
# vport*p1 stdout, vport*p2 stderr, vport*p3 our own lines ("kernel R", "failed TEXT", "exit N").
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts /tmp /root
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
ln -s /proc/self/fd /dev/fd
ip link set lo up
ulimit -c 0

port() { echo /dev/vport*p"$1"; }
report() { echo "$*" >"$(port 3)"; }

report "kernel $(uname -r)"
for module in /lab/modules/*.ko; do
  [ -e "$module" ] || continue
  if ! complaint=$(insmod "$module" 2>&1); then
    report "failed to load ${module##*/}: $complaint"
    poweroff -f
  fi
done

# A port takes at most 32 KiB per write and Node does not look: cat does.
mkfifo /lab/stdout /lab/stderr
cat /lab/stdout >"$(port 1)" & out=$!
cat /lab/stderr >"$(port 2)" & err=$!
sh /lab/command </dev/null >/lab/stdout 2>/lab/stderr
status=$?

# Processes the command left behind keep the pipes open: they get a moment to finish writing, then the run ends.
( sleep 2; kill $out $err ) 2>/dev/null &
wait $out $err 2>/dev/null
report "exit $status"
poweroff -f
