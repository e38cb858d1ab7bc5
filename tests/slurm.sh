#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: `slurm.sh start DIR` and `slurm.sh stop DIR`.
#
# Needs root and Debian's slurmctld, slurmd, slurm-client and munge. Everything it writes lies in DIR; clients find it
# by SLURM_CONF=DIR/slurm.conf. No accounting, no cgroups; CPUs and memory are consumable, as on a real cluster.
set -euo pipefail
action=${1:?start or stop} dir=$(realpath -m "${2:?a directory}")
host=$(hostname -s)

free_ports() {  # two ports that nothing listens on
  python3 -c 'import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))'
}

configure() {
  read -r controller node < <(free_ports)
  mkdir -p "$dir/state" "$dir/spool"
  cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 State=UP
CONF
}

start() {
  configure
  dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 status=none
  chmod 700 "$dir" && chmod 400 "$dir/munge.key"
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
  slurmctld -f "$dir/slurm.conf"
  slurmd -f "$dir/slurm.conf"
  for _ in $(seq 150); do
    [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && return
    sleep 0.2
  done
  echo "no idle node after 30 s:" >&2
  tail -n 20 "$dir"/*.log >&2
  return 1
}

stop() {  # the daemons that start made, by process id; jobs first
  scancel --user="$(id -un)" 2>/dev/null || true
  for daemon in slurmd slurmctld munged; do
    [ -s "$dir/$daemon.pid" ] && kill "$(cat "$dir/$daemon.pid")" 2>/dev/null || true
  done
}

export SLURM_CONF=$dir/slurm.conf
"$action"
