"""Where the tasks of a scan run: processes of this machine, workers that wait elsewhere, or jobs of a batch system."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError, MachineError
from common.files import first_line
from common.hyperparameters import read_yaml
from common.processes import THREAD_SETTINGS, usable_cores
from common.signals import handled_by

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
BATCH_SYSTEMS = {"slurm": "SLURMCluster", "htcondor": "HTCondorCluster"}
SECONDS_TO_FIND_A_SCHEDULER = 20
SECONDS_WITHOUT_SCHEDULER = 45  # then a worker of a batch system ends
SECONDS_TO_CLOSE = 30
OF_SCAN = "cathode-scan"  # where a scheduler keeps the client of the scan that uses it
WITHOUT_CODE = "the scheduler does not find this code: start it, and its workers, with this folder in PYTHONPATH"
TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"  # it tells of what processes leave that end early
# What a file for --cluster_config may set; dask-jobqueue explains it. One worker is one process with one thread.
CLUSTER_KEYS: dict[str, type | tuple[type, ...]] = {
    "queue": str, "account": str, "walltime": str, "memory": str, "disk": str, "processes": int, "interface": str,
    "local_directory": str, "log_directory": str, "shebang": str, "python": str, "job_name": str, "job_cpu": int, "job_mem": str,
    "job_extra_directives": (list, dict), "job_directives_skip": list, "job_script_prologue": list, "worker_extra_args": list,
    "submit_command_extra": list, "cancel_command_extra": list, "scheduler_options": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where tasks run.

    Attributes
    ----------
    workers : int or None
        So many at a time; None: one for every core (of a batch system: 1).
    scheduler : str or None
        Address of a scheduler whose workers are used.
    batch_system : str or None
        "slurm" or "htcondor".
    config : path or None
        YAML file for the batch system.
    threads : int
        That the libraries use in a worker.
    retries : int
        How often a task may lose its worker.
    dashboard : str or None
        Address of Dask's dashboard.
    logs : path or None
        Folder for what the jobs of a batch system say.
    """

    workers: int | None = None
    scheduler: str | None = None
    batch_system: str | None = None
    config: Path | None = None
    threads: int = 1
    retries: int = 2
    dashboard: str | None = None
    logs: Path | None = None

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the cluster, whose workers are ready; what was started here is ended.

        Raises
        ------
        InputError, MachineError
        """
        import dask
        from distributed import Client

        from workflow.scan.worker import Prepared

        for name in ("distributed", "tornado", "asyncio", "bokeh"):  # they say at length what is handled here
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with dask.config.set(self._settings()), self._cluster() as cluster:
            try:
                client = Client(cluster, timeout=SECONDS_TO_FIND_A_SCHEDULER, set_as_default=False)
            except (OSError, ValueError) as error:
                raise MachineError(f"no Dask scheduler answers at {self.scheduler} ({first_line(error)})") from error
            with client:
                if self.scheduler is not None:
                    self._claim(client)
                prepared = Prepared(os.getcwd(), self.threads)
                client.register_plugin(prepared)
                if client.dashboard_link and self.dashboard is not None:
                    logger.info("Dask's dashboard: %s", client.dashboard_link)
                try:
                    yield client
                finally:  # workers that are not ended now must not go on with what nobody waits for
                    with contextlib.suppress(Exception):
                        client.unregister_worker_plugin(prepared.name)

    def _claim(self, client: Client) -> None:
        """Refuse a scheduler that another scan uses: they would end each other's workers' trainings."""
        try:
            is_free = client.run_on_scheduler(is_free_for, client.id)
        except ImportError as error:
            raise InputError(f"{self.scheduler}: {WITHOUT_CODE}") from error
        if not is_free:
            raise InputError(f"{self.scheduler}: another scan uses this scheduler, and its workers; wait for its end")

    @property
    def n_workers(self) -> int | None:
        """Tasks at a time; None: a scheduler elsewhere decides."""
        if self.workers is not None or self.scheduler is not None:
            return self.workers
        return usable_cores() if self.batch_system is None else 1

    def _settings(self) -> dict[str, Any]:
        """Dask's own settings."""
        threads = dict.fromkeys(THREAD_SETTINGS, str(self.threads)) | {"MPLBACKEND": "Agg"}
        return {
            "distributed.scheduler.allowed-failures": 0,  # whether a task is tried again, the scan decides
            "distributed.scheduler.worker-saturation": 1.0,  # a task waits at the scheduler, not at a worker that may be lost
            "distributed.nanny.pre-spawn-environ": threads,
            "distributed.admin.large-graph-warning-threshold": "1GB",
        }

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[Any]:
        if self.scheduler is not None:
            yield self.scheduler
            return
        cluster = self._local() if self.batch_system is None else self._batch()
        try:
            if self.batch_system is not None:
                # a job that has come to its time limit is followed by another one
                cluster.adapt(minimum=self.n_workers, maximum=self.n_workers)
            yield cluster
        finally:
            with contextlib.suppress(TimeoutError):
                cluster.close(timeout=SECONDS_TO_CLOSE)

    def _local(self) -> Any:
        from distributed import LocalCluster

        os.environ.setdefault("PYTHONWARNINGS", TRACKER)
        logger.info("%d workers on this machine, of %d thread%s each", self.n_workers, self.threads, "s"[: self.threads != 1])
        return LocalCluster(
            n_workers=self.n_workers, threads_per_worker=1, processes=True, memory_limit=0, silence_logs=logging.CRITICAL,
            dashboard_address=self._scheduler["dashboard_address"], scheduler_kwargs={"dashboard": self._scheduler["dashboard"]},
        )  # fmt: skip

    @property
    def _scheduler(self) -> dict[str, Any]:
        """Settings of a scheduler that is started here; it always listens on some port."""
        return {"dashboard": self.dashboard is not None, "dashboard_address": self.dashboard or ":0"}

    def job_script(self) -> str:
        """What is submitted to the batch system for a worker.

        Raises
        ------
        InputError
            If it does not take a setting.
        """
        kind, settings = self._kind_of_cluster(), self._of_jobs(cluster_config(self.config))
        del settings["scheduler_options"]
        try:
            return kind.job_cls(scheduler="tcp://SCHEDULER", name="worker", **settings).job_script()
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.config or '--cluster'}: {kind.__name__} says: {first_line(error)}") from error

    def _kind_of_cluster(self) -> Any:
        try:
            with handled_by(lambda number, frame: None):  # it sets a handler of its own, which would not last longer than this
                import dask_jobqueue
        except ImportError as error:
            raise InputError("--cluster needs dask-jobqueue: pip install -r requirements-scale.txt") from error
        return getattr(dask_jobqueue, BATCH_SYSTEMS[str(self.batch_system)])

    def _batch(self) -> Any:
        logger.info("jobs are submitted with a script like this:\n%s", self.job_script())
        return self._kind_of_cluster()(**self._of_jobs(cluster_config(self.config)))

    def _of_jobs(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What dask-jobqueue is given: one thread for a worker, an environment that fits, an end without a scheduler."""
        n = config.get("processes", 1)
        exports = [f"export {name}={self.threads}" for name in THREAD_SETTINGS]
        exports.append(f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}")
        settings = {"memory": "2GB", **config, "processes": n, "cores": n, "death_timeout": SECONDS_WITHOUT_SCHEDULER}
        settings["job_script_prologue"] = [*exports, *config.get("job_script_prologue", [])]
        settings["scheduler_options"] = {**self._scheduler, **config.get("scheduler_options", {})}
        if self.logs is not None:
            settings.setdefault("log_directory", str(self.logs))
        if self.batch_system == "htcondor":
            settings.setdefault("disk", "1GB")
            settings["job_extra_directives"] = {"RequestCpus": n * self.threads, **config.get("job_extra_directives", {})}
        else:
            settings.setdefault("job_cpu", n * self.threads)
        return settings


def is_free_for(client: str, dask_scheduler: Any) -> bool:
    """Done by the scheduler, one call after another: note whose scan it is for, unless the client of another one is still connected."""
    holder = dask_scheduler.get_metadata([OF_SCAN], default=None)
    if holder in dask_scheduler.clients:
        return False
    dask_scheduler.set_metadata([OF_SCAN], client)
    return True


def cluster_config(path: Path | None) -> dict[str, Any]:
    """Read a file for --cluster_config.

    Raises
    ------
    InputError
        With the file and the key that is wrong.
    """
    content = {} if path is None else read_yaml(path)
    for key, value in content.items():
        if key not in CLUSTER_KEYS:
            raise InputError(f"{path}: unknown key {key!r} (known: {', '.join(CLUSTER_KEYS)})")
        if not isinstance(value, CLUSTER_KEYS[key]):
            raise InputError(f"{path}: {key} is {value!r}, which is of the wrong type")
    return content
