#!/usr/bin/env bash
# Start a Slurm cluster of one node on this machine, in a temporary folder; run a command on it; stop it again.
#
#   scripts/one_node_slurm.sh                 the tests that need Slurm
#   scripts/one_node_slurm.sh squeue          any other command
#
# Needs root, and the programs of Debian's packages slurm-wlm and munge; exits with 3 where Slurm cannot be started.
# Nothing outside the folder is changed, and no control groups are used, so that it also runs in a container.
set -euo pipefail

for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || PATH="$PATH:/usr/sbin:/sbin"
    command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 3; }
done
[ "$(id -u)" = 0 ] || { echo "slurmctld and slurmd need root" >&2; exit 3; }

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="$(mktemp -d /tmp/one-node-slurm.XXXXXX)"
chmod 755 "$folder"
mkdir -p "$folder"/{state,spool,log,munge}
chmod 700 "$folder/munge"
name="$(hostname -s)"
memory="$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)"
pids=()

stop() {
    status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ "$status" = 0 ]; then rm -rf "$folder"; else echo "the logs of Slurm are in $folder/log" >&2; fi
    exit "$status"
}
trap stop EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

cat >"$folder/slurm.conf" <<CONF
ClusterName=one-node
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
MpiDefault=none
KillWait=10
MinJobAge=60
ReturnToService=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=short Nodes=$name Default=YES MaxTime=1440 State=UP
PartitionName=closed Nodes=$name AllowGroups=nogroup State=UP
CONF
# Slurm 22.05 and before have no way to do without, but need no right to use what they load.
major="$(slurmd -V | sed 's/[^0-9]*\([0-9]*\).*/\1/')"
if [ "$major" -ge 23 ]; then plugin=disabled; else plugin=cgroup/v1; fi
printf 'CgroupPlugin=%s\n' "$plugin" >"$folder/cgroup.conf"

dd if=/dev/urandom of="$folder/munge/key" bs=128 count=1 status=none
chmod 600 "$folder/munge/key"
munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/log/munged" --seed-file="$folder/munge/seed" >/dev/null 2>&1 &
pids+=($!)
chmod 711 "$folder/munge"

export SLURM_CONF="$folder/slurm.conf"
slurmctld -D -c -f "$SLURM_CONF" -L "$folder/log/slurmctld" >/dev/null 2>&1 &
pids+=($!)
slurmd -D -c -f "$SLURM_CONF" -L "$folder/log/slurmd" >/dev/null 2>&1 &
pids+=($!)

for _ in $(seq 60); do
    state="$(sinfo -h -p short -o %T 2>/dev/null || true)"
    [ "$state" = idle ] && break
    sleep 1
done
[ "${state:-}" = idle ] || { echo "Slurm did not start: ${state:-no answer}" >&2; exit 3; }

if [ $# = 0 ]; then
    python="$repository/.venv/bin/python"
    [ -x "$python" ] || python=python3
    set -- "$python" -m pytest -n 0 -q -m slurm "$repository/tests"
fi
"$@"
