"""A Slurm cluster on one machine: four nodes, two of them with fake GPUs, and accounting. It needs no systemd.

A cluster writes only to its own folder. Each daemon is a child of this process, and no other process is ended.
Several clusters can run at once, because each has its own ports, keys, database and controller. The programs are
munged, mariadbd, slurmdbd, slurmctld and one slurmd per node, as Debian packages them.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
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
KillWait=20
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
# nothing opens these GPUs, so any character device will do
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
# Clients are started by wrappers, because Snakemake's jobstep plugin removes SLURM_CONF from the environment of jobs.
WRAPPER = """#!/bin/sh
export SLURM_CONF={conf}
exec {program} "$@"
"""


def missing() -> list[str]:
    """The programs of a Slurm cluster that are not installed on this machine."""
    return [name for name in (*DAEMONS, *CLIENTS) if program(name) is None]


def program(name: str) -> str | None:
    """The path of a program, or None. Daemons are often in folders that are not on a user's path."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *SYSTEM]))


def until(what: str, holds: Callable[[], T | None], seconds: float = 600, why: Callable[[], str] = str) -> T:
    """Wait until ``holds()`` is true, and return its value.

    Raises AssertionError with ``what`` and ``why()`` after ``seconds``. The limit is long because several clusters
    share the machine's cores. It costs time only if a test fails.
    """
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}\n{why()}"
        time.sleep(0.2)
    return found


@contextlib.contextmanager
def short_folder(prefix: str) -> Iterator[Path]:
    """A folder outside of pytest's, because the path of a socket may have about a hundred characters only."""
    made = Path(tempfile.mkdtemp(prefix=prefix))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def running(folder: Path) -> Iterator["Cluster"]:
    """A cluster in ``folder`` that is up inside the context."""
    made = Cluster(folder)
    try:
        yield made.up()
    finally:
        made.down()


class Cluster:
    """A cluster in ``folder``. ``up`` starts it, ``down`` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf, self.bin = folder / "etc/slurm.conf", folder / "bin"
        self.user = getpass.getuser()
        self.daemons: dict[str, subprocess.Popen] = {}
        self.ports, numbers = own_ports(3 + len(NODES))
        self.ctld, self.dbd, self.sql, *self.node_ports = numbers

    def environment(self) -> dict[str, str]:
        """The environment of a user of this cluster."""
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.conf)}

    def call(self, *words: str) -> str:
        """The standard output of a client program. Raises CalledProcessError if it fails."""
        return subprocess.run(
            words, env=self.environment(), check=True, capture_output=True, text=True, timeout=300
        ).stdout

    def up(self) -> "Cluster":
        """Write the configuration and start all daemons."""
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
        """Start the controller, and after ``boot`` seconds the nodes.

        A controller that was stopped before still knows its jobs.
        """
        self._start("slurmctld", "-D", "-f", str(self.conf))
        self._await("slurmctld", "scontrol", "ping")
        time.sleep(boot)
        for node in NODES:
            self.start_node(node)
        until("all nodes are there", lambda: set(self.nodes()) == set(NODES) and self._idle())

    def start_node(self, node: str) -> None:
        """Start the daemon of one node."""
        self._start("slurmd", "-D", "-N", node, "-f", str(self.conf), name=f"slurmd-{node}")

    def stop_slurm(self) -> None:
        """End the controller and the nodes, as when a cluster goes down. Accounting keeps running."""
        for name in [*(f"slurmd-{node}" for node in NODES), "slurmctld"]:
            self.stop(name)

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one daemon with signal ``number``."""
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
        """Kill these nodes and all their processes at once, as a power failure does.

        Without names, all nodes and the controller are killed.
        """
        lost = nodes or NODES
        # listed first: the processes of a job are no children of the node's daemon, and outlive it
        running = [process for node in lost for process in self.processes(node)]
        for name in [f"slurmd-{node}" for node in lost] + ([] if nodes else ["slurmctld"]):
            self.stop(name, signal.SIGKILL)
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processes(self, node: str) -> set[psutil.Process]:
        """All processes of jobs on a node: the daemons of their steps, and their descendants."""
        place = {"SLURM_CONF": str(self.conf), "SLURMD_NODENAME": node}
        found: set[psutil.Process] = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                above = process.parent()
                if above and above.name() == "slurmstepd" and place.items() <= process.environ().items():
                    found |= {above, *above.children(recursive=True)}
        return found

    def down(self) -> None:
        """End all jobs, then all daemons."""
        if "slurmctld" in self.daemons:
            with contextlib.suppress(subprocess.SubprocessError):
                self.cancel_all()
        for name in reversed(list(self.daemons)):
            self.stop(name)

    def cancel_all(self) -> None:
        """End all jobs and wait until they are gone."""
        self.call("scancel", "-u", self.user)
        until("all jobs are gone", lambda: not self.call("squeue", "-h").strip())

    def urgent(self) -> None:
        """Submit a job of a few seconds that preempts the jobs of lower partitions on a whole node."""
        self.call("sbatch", "-p", "urgent", "-c", "8", "-o", "/dev/null", "--wrap", "sleep 5")

    def requeued(self, job: str, *changes: str) -> None:
        """Wait until Slurm has put a job back into the queue, and let it start now instead of after two minutes.

        ``changes`` are further arguments of ``scontrol update``.
        """
        command = ("squeue", "-h", "-j", job, "-o", "%T")
        until(f"job {job} is in the queue again", lambda: self.call(*command).strip() == "PENDING")
        self.call("scontrol", "update", f"JobId={job}", "StartTime=now", *changes)

    def nodes(self) -> dict[str, str]:
        """Node name → state."""
        lines = self.call("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def jobs(self, since: float = 0) -> list[dict[str, str]]:
        """The rows of accounting for all jobs since ``since`` (Unix time). A requeued job has one row per run."""
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
        """The state of each row of ``jobs``, without its details (``CANCELLED by 0`` is CANCELLED)."""
        return [job["State"].split()[0] for job in self.jobs(since)]

    def running(self) -> list[str]:
        """Ids of the running jobs, oldest first."""
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
        values = {"here": self.folder, "user": self.user, "ctld": self.ctld, "dbd": self.dbd, "sql": self.sql}
        self.conf.write_text(CONF.format(**values, nodes=nodes))
        (self.folder / "etc/gres.conf").write_text(GRES)
        (self.folder / "etc/cgroup.conf").write_text("")
        database = self.folder / "etc/slurmdbd.conf"
        database.write_text(DBD.format(**values))
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
        # A server that starts deletes the temporary tables that it finds, also those of another one that runs.
        temporary = self.folder / "sqltmp"
        temporary.mkdir(exist_ok=True)
        user = ["--user=mysql"] if os.geteuid() == 0 else []
        if user:  # the server refuses to run as root, and must own its data
            data.mkdir(exist_ok=True)
            shutil.chown(data, "mysql")
            shutil.chown(temporary, "mysql")
            shutil.chown(self.folder / "run", group="mysql")
            (self.folder / "run").chmod(0o775)
        folders = ["--no-defaults", *user, f"--datadir={data}", f"--tmpdir={temporary}"]
        install = [str(program("mariadb-install-db")), *folders, "--skip-test-db"]
        made = subprocess.run(
            [*install, "--auth-root-authentication-method=normal"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert made.returncode == 0, (
            f"mariadb-install-db ended with {made.returncode}: {made.stdout}{made.stderr}"
        )
        self._start(
            "mariadbd", *folders, "--bind-address=127.0.0.1",
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
            asked = subprocess.run(words, env=self.environment(), capture_output=True, timeout=300)
            return asked.returncode == 0 and b"DOWN" not in asked.stdout

        until(f"{name} answers", answers)


def own_ports(number: int) -> tuple[socket.socket, list[int]]:
    """A socket and ``number`` free ports. No other cluster takes these ports while the socket is open.

    The ports are below those that the system uses for outgoing connections. Raises AssertionError if there are not
    enough.
    """
    for first in range(20_000, 32_000, 50):
        guard = socket.socket(socket.AF_UNIX)
        ports = range(first, first + number)
        with contextlib.suppress(OSError):
            # only one process can bind this name, and the system frees it when the process ends
            guard.bind(f"\0polycal-cluster-{first}")
            for port in ports:
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", port))
            return guard, list(ports)
        guard.close()
    raise AssertionError(f"no {number} free ports between 20,000 and 32,000")
