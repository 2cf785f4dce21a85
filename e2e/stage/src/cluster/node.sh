#!/usr/bin/env bash
# Process 1 of a node, in new mount, pid, uts and ipc namespaces and the node's own network namespace: mounts what the
# node must not share, then keeps containerd, kubelet and kube-proxy running. When it dies, all of the node does.
# NODE: the node's name; ADDRESS: its address; STATE: its folder; CGROUP: its cgroup below every hierarchy;
# KUBE: the executable of all components; CERTIFICATES: their folder.
set -eu

hostname "$NODE"
# Its own /proc and /sys; the cgroups' mounts are carried over to the new /sys.
mount -t proc proc /proc
mkdir -p "$STATE/cgroup"
mount --rbind /sys/fs/cgroup "$STATE/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$STATE/cgroup" /sys/fs/cgroup
umount -l "$STATE/cgroup"
# What would be shared with the machine and other nodes.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
for folder in /var/lib/kubelet /var/lib/cni /var/lib/containerd /var/log/pods /var/log/containers; do
  mkdir -p "$folder" "$STATE/disk$folder"
  mount --bind "$STATE/disk$folder" "$folder"
done
mount --make-rshared /

for hierarchy in /sys/fs/cgroup/*/; do
  case $hierarchy in */unified/) continue ;; esac
  # Of cpusets, a child is empty and of no use unless its parents say otherwise.
  children=$hierarchy/cgroup.clone_children
  [ "$hierarchy" != /sys/fs/cgroup/cpuset/ ] || echo 1 >"$children"
  mkdir -p "$hierarchy/${CGROUP%/*}"
  [ "$hierarchy" != /sys/fs/cgroup/cpuset/ ] || echo 1 >"$hierarchy/${CGROUP%/*}/cgroup.clone_children"
  mkdir -p "$hierarchy/$CGROUP"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
ulimit -n "$(ulimit -Hn)"

keep() { # name, command...: started again whenever it ends
  local name=$1
  shift
  while :; do
    "$@" >>"$STATE/$name.log" 2>&1 || true
    sleep 0.5
  done
}

# So long a dead connection to the API server looks alive: 8 s instead of 45.
export HTTP2_READ_IDLE_TIMEOUT_SECONDS=5 HTTP2_PING_TIMEOUT_SECONDS=3
keep containerd containerd --config "$STATE/containerd.toml" --log-level info &
keep kubelet "$KUBE" kubelet --config "$STATE/kubelet.json" --kubeconfig "$CERTIFICATES/$NODE.conf" \
  --hostname-override "$NODE" --node-ip "$ADDRESS" &
keep proxy "$KUBE" proxy --config "$STATE/proxy.json" --hostname-override "$NODE" &
# Reaps what nobody else waits for.
while :; do wait -n || sleep 1; done
