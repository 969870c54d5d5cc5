#!/usr/bin/env bash
# A real SLURM on this one machine, to try things on: two nodes, n1 and n2, with host names of their own.
#
#   tools/local_slurm.sh start DIR     # starts it, with all its files in DIR, and runs a first job
#   eval "$(tools/local_slurm.sh env DIR)" && srun -N2 hostname
#   tools/local_slurm.sh stop DIR      # cancels what runs, and ends it
#
# It needs root, slurm-wlm and munge (apt-get install --no-install-recommends slurm-wlm munge), no systemd, and touches nothing
# outside of DIR: keys, sockets and ports are its own, so that several may run side by side. Exit status 2: it cannot run here.
set -euo pipefail

CPUS=2             # of each node; they are shared, as SLURM pins nothing here
REQUEUE_AFTER_S=5  # the life of a credential, and by that how long a requeued job waits; 120 by default
GPUS=8             # of each node, files in place of devices: so that jobs which ask for some are accepted
PATIENCE_S=40      # for the daemons to find each other

refuse() {
    echo "local_slurm: $*" >&2
    exit 2
}

check_machine() {
    [[ $(id -u) == 0 ]] || refuse "not root; SLURM's daemons start jobs as other users"
    local program
    for program in slurmctld slurmd munged srun; do
        command -v "$program" >/dev/null ||
            refuse "$program is not installed; run apt-get install --no-install-recommends slurm-wlm munge"
    done
    unshare --uts --mount true 2>/dev/null || refuse "unshare --uts --mount is not allowed here (CAP_SYS_ADMIN), so that no node gets a host name"
}

free_ports() {  # the controller's, n1's and n2's
    python3 - <<'PYTHON'
import socket

sockets = [socket.socket() for _ in range(3)]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}

write_configuration() {
    local dir=$1 memory_mb ports
    memory_mb=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024))
    read -r -a ports < <(free_ports)
    # MASTER_ADDR is a node's name: the nodes' own /etc/hosts knows them.
    { cat /etc/hosts; echo "127.0.0.1 n1 n2"; } >"$dir/hosts"
    cat >"$dir/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=$REQUEUE_AFTER_S
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
ReturnToService=2
SlurmdTimeout=30
KillWait=20
MinJobAge=3600
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=$CPUS RealMemory=$memory_mb Gres=gpu:$GPUS
NodeName=n2 NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=$CPUS RealMemory=$memory_mb Gres=gpu:$GPUS
PartitionName=local Nodes=n1,n2 Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
CONF
    seq --format="$dir/gpu%g" 0 $((GPUS - 1)) | xargs --delimiter='\n' touch
    echo "Name=gpu File=$dir/gpu[0-$((GPUS - 1))]" >"$dir/gres.conf"
    if [[ ! -e /sys/fs/cgroup/cgroup.controllers ]]; then
        echo "CgroupPlugin=cgroup/v1" >"$dir/cgroup.conf"
    fi
}

start_node() {
    # shellcheck disable=SC2016
    setsid unshare --uts --mount bash -c '
        hostname "$1" && mount --bind "$2/hosts" /etc/hosts && exec slurmd -D -N "$1" -f "$2/slurm.conf"
    ' slurmd "$2" "$1" >"$1/slurmd.$2.out" 2>&1 </dev/null &
}

start() {
    local dir=$1
    check_machine
    [[ ! -e $dir/slurm.conf ]] || refuse "$dir: a SLURM was started here; stop it first"
    mkdir -p "$dir/state" "$dir/n1" "$dir/n2"
    ((${#dir} < 80)) || refuse "$dir: this name is too long for a socket in it"
    write_configuration "$dir"
    (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
    setsid munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" >"$dir/munged.out" 2>&1 </dev/null ||
        refuse "munged does not start: $(tail -n 3 "$dir/munged.out")"
    SLURM_CONF=$dir/slurm.conf setsid slurmctld -D -f "$dir/slurm.conf" >"$dir/slurmctld.out" 2>&1 </dev/null &
    start_node "$dir" n1
    start_node "$dir" n2
    check_cluster "$dir" || {
        tail -n 4 "$dir"/slurmctld.log "$dir"/slurmd.n?.log "$dir"/*.out >&2
        stop "$dir"
        refuse "the two nodes do not work; the last lines of the logs are above"
    }
}

check_cluster() {
    export SLURM_CONF=$1/slurm.conf
    local until=$((SECONDS + PATIENCE_S)) names
    while ((SECONDS < until)); do
        if [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]]; then
            names=$(timeout 20 srun --nodes=2 --ntasks-per-node=1 --chdir=/ hostname | sort | paste -sd ' ')
            [[ $names == "n1 n2" ]] || return 1
            echo "SLURM runs in $1; its nodes are $names"
            return 0
        fi
        sleep 0.2
    done
    return 1
}

stop() {
    local dir=$1 file pid pids=()
    export SLURM_CONF=$dir/slurm.conf
    [[ -e $SLURM_CONF ]] || refuse "$dir: no SLURM was started here"
    timeout 10 scancel --partition=local --signal=KILL --full 2>/dev/null || true
    timeout 10 scancel --partition=local 2>/dev/null || true
    for file in "$dir"/slurmd.n1.pid "$dir"/slurmd.n2.pid "$dir"/slurmctld.pid "$dir"/munged.pid; do
        pid=$(cat "$file" 2>/dev/null) && pids+=("$pid")
    done
    ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
    for pid in "${pids[@]}"; do
        timeout 10 tail --pid="$pid" --sleep-interval=0.1 --follow /dev/null || kill -KILL "$pid" 2>/dev/null || true
    done
    rm -f "$dir/slurm.conf"
}

[[ $# == 2 ]] || refuse "give start, stop or env, and a folder"
folder=$(realpath --canonicalize-missing "$2")
case $1 in
    start) start "$folder" ;;
    stop) stop "$folder" ;;
    env) echo "export SLURM_CONF='$folder/slurm.conf'" ;;
    *) refuse "$1: give start, stop or env, and a folder" ;;
esac
