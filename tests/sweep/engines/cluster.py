"""A Slurm of one node with two cores on the loopback interface, in a folder of its own: munged, slurmctld, slurmd."""

import getpass
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONF = """ClusterName=mechxl
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=5
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=short Nodes=node Default=YES MaxTime=INFINITE State=UP
"""
PATIENCE = 60.0  # seconds for the node to be up


class Cluster:
    """A Slurm at work; its commands find it by the environment variable SLURM_CONF."""

    def __enter__(self) -> "Cluster":
        self.holder = tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)
        self.folder = Path(self.holder.name)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host, user = socket.gethostname().split(".")[0], getpass.getuser()
        controller, node = _free_ports(2)
        conf = self.folder / "slurm.conf"
        conf.write_text(CONF.format(folder=self.folder, host=host, user=user, controller=controller, node=node))
        self.environment = {"SLURM_CONF": str(conf)}
        at = {
            kind: f"--{kind}={self.folder}/munge.{kind.split('-')[0]}"
            for kind in ("key-file", "pid-file", "log-file", "seed-file")
        }
        self.daemons = [
            self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *at.values())
        ]
        self._until(lambda: (self.folder / "munge.socket").exists())
        self.daemons.append(self._start("slurmctld", "-D", "-f", str(conf)))
        self.daemons.append(self._start("slurmd", "-D", "-N", "node", "-f", str(conf)))
        self._until(lambda: self.ask("sinfo", "--noheader", "--format=%t") == "idle")
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.holder.cleanup()

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints; empty if it fails."""
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | self.environment, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def until_idle(self) -> None:
        """Waits until no task is left."""
        self._until(lambda: not self.ask("squeue", "--noheader", "--format=%i"))

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{command[0]}.out").open("wb") as log:
            environment = os.environ | self.environment
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def _until(self, condition) -> None:
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > PATIENCE or any(daemon.poll() is not None for daemon in self.daemons):
                logs = {path.name: path.read_text()[-2000:] for path in self.folder.glob("*.out")}
                self.__exit__()
                raise RuntimeError(f"Slurm does not start here; apt-get install slurmctld slurmd munge: {logs}")
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
