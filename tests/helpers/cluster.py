"""A Slurm cluster on one machine: four nodes, two with fake GPUs, accounting, no systemd.

Everything it writes lies in one folder, every daemon is a child of this process, and only those are ended.
Programs: munged, mariadbd, slurmdbd, slurmctld and one slurmd a node, as Debian packages them.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
DAEMONS = ("munged", "mariadbd", "mariadb-install-db", "mariadb", "slurmdbd", "slurmctld", "slurmd")
CLIENTS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
NODES = ("c1", "c2", "g1", "g2")
SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/sbin")

CONF = """\
ClusterName=polycal
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld}
SlurmctldPidFile={here}/run/slurmctld.pid
SlurmdPidFile={here}/run/slurmd-%n.pid
SlurmctldLogFile={here}/log/slurmctld.log
SlurmdLogFile={here}/log/slurmd-%n.log
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool/%n
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={here}/run/munge.sock
CredType=cred/munge
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
MinJobAge=300
SlurmctldTimeout=60
SlurmdTimeout=300
InactiveLimit=0
JobRequeue=1
CompleteWait=0
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
PlugStackConfig=/dev/null
GresTypes=gpu
AccountingStorageTRES=gres/gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStoragePass={here}/run/munge.sock
AccountingStoreFlags=job_comment
AccountingStorageEnforce=limits
{nodes}
PartitionName=cpu Nodes=c1,c2 Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP PriorityTier=10
PartitionName=gpu Nodes=g1,g2 MaxTime=INFINITE DefMemPerCPU=500 State=UP PriorityTier=10
PartitionName=spare Nodes=c1 MaxTime=INFINITE DefMemPerCPU=500 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=spot Nodes=c1 MaxTime=INFINITE DefMemPerCPU=500 State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=c1 MaxTime=INFINITE DefMemPerCPU=500 State=UP PriorityTier=20
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    "CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=64000 {gres}"
)
# any character device will do for a GPU that nothing opens
GRES = "AutoDetect=off\n" + "".join(
    f"NodeName=g1,g2 Name=gpu Type=fake File=/dev/{device}\n" for device in ("null", "zero", "full", "random")
)
DBD = """\
AuthType=auth/munge
AuthInfo=socket={here}/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser={user}
PidFile={here}/run/slurmdbd.pid
LogFile={here}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
"""
# jobs run under a wrapped name, because the jobstep plugin takes SLURM_CONF out of their environment
WRAPPER = """#!/bin/sh
export SLURM_CONF={conf}
exec {program} "$@"
"""


def missing() -> list[str]:
    """The programs of a Slurm cluster that this machine lacks."""
    return [name for name in (*DAEMONS, *CLIENTS) if program(name) is None]


def program(name: str) -> str | None:
    """Where a program lies; daemons are often outside of a user's path."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *SYSTEM]))


def until(what: str, holds: Callable[[], T | None], seconds: float = 60, why: Callable[[], str] = str) -> T:
    """Wait until ``holds()`` is true and give its value; after ``seconds`` AssertionError with ``what`` and ``why()``."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}\n{why()}"
        time.sleep(0.2)
    return found


class Cluster:
    """A running cluster in ``folder``; ``up`` starts it, ``down`` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf, self.bin = folder / "etc/slurm.conf", folder / "bin"
        self.user = getpass.getuser()
        self.daemons: dict[str, subprocess.Popen] = {}
        ports = free_ports(3 + len(NODES))
        self.ctld, self.dbd, self.sql, *self.node_ports = ports

    def environment(self) -> dict[str, str]:
        """The environment of a user of this cluster."""
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.conf)}

    def call(self, *words: str) -> str:
        """What a client program says; raises CalledProcessError."""
        return subprocess.run(
            words, env=self.environment(), check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def up(self) -> "Cluster":
        """Write the configuration and start every daemon."""
        self._write()
        self._start("munged", "--foreground", "--force", *self._munge())
        self._await("munged", "munge", "-n", "-S", f"{self.folder}/run/munge.sock")
        self._database()
        self._start("slurmdbd", "-D")
        self._await("slurmdbd", "sacctmgr", "-n", "show", "cluster")
        self.call("sacctmgr", "-i", "add", "cluster", "polycal")
        self.call("sacctmgr", "-i", "add", "account", "lab", "Description=lab", "Organization=lab")
        self.call("sacctmgr", "-i", "add", "user", self.user, "Account=lab", "DefaultAccount=lab")
        self.start_slurm()
        return self

    def start_slurm(self, boot: float = 0) -> None:
        """Start the controller, and the nodes ``boot`` seconds after it; jobs of a stopped controller are known again."""
        self._start("slurmctld", "-D", "-f", str(self.conf))
        self._await("slurmctld", "scontrol", "ping")
        time.sleep(boot)
        for node in NODES:
            self.start_node(node)
        until("all nodes are there", lambda: set(self.nodes()) == set(NODES) and self._idle(), 30)

    def start_node(self, node: str) -> None:
        """Start the daemon of one node."""
        self._start("slurmd", "-D", "-N", node, "-f", str(self.conf), name=f"slurmd-{node}")

    def stop_slurm(self) -> None:
        """End controller and nodes, as when a cluster goes down; accounting stays."""
        for name in [*(f"slurmd-{node}" for node in NODES), "slurmctld"]:
            self.stop(name)

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one daemon."""
        daemon = self.daemons.pop(name, None)
        if daemon is None or daemon.poll() is not None:
            return
        daemon.send_signal(number)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(10)

    def lose_power(self, *nodes: str) -> None:
        """End these nodes and all that runs on them at once; without names all nodes and the controller."""
        lost = nodes or NODES
        # Slurm keeps what runs for a job apart from the node's daemon, which may end before it
        running = [process for node in lost for process in self.processes(node)]
        for name in [f"slurmd-{node}" for node in lost] + ([] if nodes else ["slurmctld"]):
            self.stop(name, signal.SIGKILL)
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processes(self, node: str) -> set[psutil.Process]:
        """All that runs for jobs on a node: the daemons of their steps and what these have started."""
        place = {"SLURM_CONF": str(self.conf), "SLURMD_NODENAME": node}
        found: set[psutil.Process] = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                above = process.parent()
                if above and above.name() == "slurmstepd" and place.items() <= process.environ().items():
                    found |= {above, *above.children(recursive=True)}
        return found

    def down(self) -> None:
        """End all jobs, then every daemon."""
        if "slurmctld" in self.daemons:
            with contextlib.suppress(subprocess.SubprocessError):
                self.cancel_all()
        for name in reversed(list(self.daemons)):
            self.stop(name)

    def cancel_all(self) -> None:
        """End all jobs and wait until they are gone."""
        self.call("scancel", "-u", self.user)
        until("all jobs are gone", lambda: not self.call("squeue", "-h").strip(), 60)

    def urgent(self) -> None:
        """A job of a few seconds that takes a whole node from jobs of lower partitions."""
        self.call("sbatch", "-p", "urgent", "-c", "8", "-o", "/dev/null", "--wrap", "sleep 5")

    def requeued(self, job: str, *changes: str) -> None:
        """Wait until Slurm has put a job back into the queue, and let it begin now instead of in two minutes."""
        command = ("squeue", "-h", "-j", job, "-o", "%T")
        until(f"job {job} is in the queue again", lambda: self.call(*command).strip() == "PENDING", 60)
        self.call("scontrol", "update", f"JobId={job}", "StartTime=now", *changes)

    def nodes(self) -> dict[str, str]:
        """Node name → state."""
        lines = self.call("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def jobs(self, since: float = 0) -> list[dict[str, str]]:
        """What accounting says of all jobs begun after ``since`` (Unix time), requeued ones once for each run."""
        columns = [
            "JobIDRaw",
            "JobName",
            "Comment",
            "State",
            "ExitCode",
            "Start",
            "End",
            "NodeList",
            "Elapsed",
        ]
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
        said = self.call("sacct", "-D", "-X", "-n", "-P", "-S", start, "-E", "now", "-o", ",".join(columns))
        return [dict(zip(columns, line.split("|"), strict=True)) for line in said.splitlines()]

    def states(self, since: float = 0) -> list[str]:
        """The states of ``jobs``, the first word of each (``CANCELLED by 0`` is CANCELLED)."""
        return [job["State"].split()[0] for job in self.jobs(since)]

    def running(self) -> list[str]:
        """Ids of the jobs that run now, oldest first."""
        return sorted(self.call("squeue", "-h", "-t", "RUNNING", "-o", "%i").split(), key=int)

    def _idle(self) -> bool:
        return all(state in ("idle", "mixed", "allocated", "completing") for state in self.nodes().values())

    def _write(self) -> None:
        for name in ("etc", "log", "run", "state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            NODE.format(name=node, host=host, port=port, gres="Gres=gpu:fake:4" if node[0] == "g" else "")
            for node, port in zip(NODES, self.node_ports, strict=True)
        )
        told = {"here": self.folder, "user": self.user, "ctld": self.ctld, "dbd": self.dbd, "sql": self.sql}
        self.conf.write_text(CONF.format(**told, nodes=nodes))
        (self.folder / "etc/gres.conf").write_text(GRES)
        (self.folder / "etc/cgroup.conf").write_text("")
        database = self.folder / "etc/slurmdbd.conf"
        database.write_text(DBD.format(**told))
        database.chmod(0o600)
        for name in CLIENTS:
            (self.bin / name).write_text(WRAPPER.format(conf=self.conf, program=program(name)))
            (self.bin / name).chmod(0o755)

    def _munge(self) -> list[str]:
        run = self.folder / "run"
        key = run / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        named = {"key-file": key, "socket": run / "munge.sock", "pid-file": run / "munged.pid"}
        named |= {"log-file": self.folder / "log/munged.log", "seed-file": run / "munge.seed"}
        return [f"--{option}={path}" for option, path in named.items()]

    def _database(self) -> None:
        data, socket_file = self.folder / "sql", self.folder / "run/sql.sock"
        user = ["--user=mysql"] if os.geteuid() == 0 else []
        if user:  # the server refuses to run as root, and its data must be its own
            data.mkdir(exist_ok=True)
            shutil.chown(data, "mysql")
            shutil.chown(self.folder / "run", group="mysql")
            (self.folder / "run").chmod(0o775)
        install = [str(program("mariadb-install-db")), "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        install += ["--auth-root-authentication-method=normal", *user]
        subprocess.run(install, check=True, capture_output=True, timeout=120)
        self._start(
            "mariadbd", "--no-defaults", *user, f"--datadir={data}", "--bind-address=127.0.0.1",
            f"--port={self.sql}", f"--socket={socket_file}", f"--pid-file={data}/pid", "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=2", "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        client = ["mariadb", "--no-defaults", "-S", str(socket_file), "-uroot", "-e"]
        self._await("mariadbd", *client, "select 1")
        for host in ("127.0.0.1", "localhost"):
            self.call(*client, f"create user slurm@'{host}' identified by 'slurm'")
            self.call(*client, f"grant all on slurm_acct.* to slurm@'{host}'")
        self.call(*client, "create database slurm_acct")

    def _start(self, program_name: str, *words: str, name: str | None = None) -> None:
        name = name or program_name
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [str(program(program_name)), *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment(),
                cwd=self.folder,
                start_new_session=True,
            )

    def _await(self, name: str, *words: str) -> None:
        def answers() -> bool:
            if self.daemons[name].poll() is not None:
                out = (self.folder / "log" / f"{name}.out").read_text()
                raise AssertionError(f"{name} ended with {self.daemons[name].returncode}: {out}")
            asked = subprocess.run(words, env=self.environment(), capture_output=True, timeout=60)
            return asked.returncode == 0 and b"DOWN" not in asked.stdout

        until(f"{name} answers", answers, 40)


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    open_now = [socket.socket() for _ in range(number)]
    try:
        for one in open_now:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in open_now]
    finally:
        for one in open_now:
            one.close()
