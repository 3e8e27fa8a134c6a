"""Batch systems: what their jobs are given, and files for --cluster_config. No job is submitted."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from common.errors import InputError
from workflow.scan.clusters import ROOT, Place, cluster_config

pytestmark = pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="needs requirements-scale.txt")


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.yml"
    path.write_text(text)
    return path


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script of a job, as it would be submitted."""
    monkeypatch.chdir(tmp_path)

    def of(system: str, text: str, **settings: object) -> str:
        return Place(batch_system=system, config=config(tmp_path, text), logs=tmp_path / "jobs", **settings).job_script()

    return of


def test_a_slurm_job_is_one_worker_of_one_thread(script, tmp_path):
    text = script("slurm", "queue: long\nwalltime: '02:00:00'\nmemory: 3GB\njob_extra_directives: ['--nice=100']\n")
    for line in ("#SBATCH -p long", "#SBATCH -t 02:00:00", "#SBATCH --mem=3G", "#SBATCH --cpus-per-task=1", "#SBATCH --nice=100",
                 "export OMP_NUM_THREADS=1", f"export PYTHONPATH={ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"):  # fmt: skip
        assert line in text.splitlines()
    assert f"#SBATCH -e {tmp_path / 'jobs'}/" in text
    assert "--nthreads 1 " in text
    assert "--death-timeout 45" in text


def test_a_job_may_have_several_workers_and_a_worker_several_threads(script):
    text = script("slurm", "processes: 8\nmemory: 16GB\n", threads=2)
    assert "#SBATCH --cpus-per-task=16" in text
    assert all(each in text for each in ("--nthreads 1 ", "--nworkers 8 "))
    assert "export OPENBLAS_NUM_THREADS=2" in text


@pytest.mark.parametrize("before", ["", "/other"])
def test_the_code_is_found_in_a_folder_with_a_blank(before, script, monkeypatch):
    monkeypatch.setattr("workflow.scan.clusters.ROOT", Path("/home/jane doe/it's"))
    (line,) = [line for line in script("slurm", "memory: 3GB\n").splitlines() if "PYTHONPATH" in line]
    environment = {"PYTHONPATH": before} if before else {}
    done = subprocess.run(
        ["sh", "-c", f'{line}; printf %s "$PYTHONPATH"'], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "/home/jane doe/it's" + f":{before}" * bool(before)


def test_htcondor_understands_its_submit_file(script):
    htcondor = pytest.importorskip("htcondor2", reason="HTCondor's own parser: pip install htcondor")
    text = script("htcondor", "memory: 3GB\ndisk: 2GB\njob_extra_directives: {+JobFlavour: '\"longlunch\"'}\n", threads=2)
    submit = htcondor.Submit(text)
    assert submit["RequestCpus"] == "2"
    assert submit["MY.DaskWorkerCores"] == "1"
    assert submit["MY.DaskWorkerMemory"] == "3000000000"
    assert submit["MY.DaskWorkerDisk"] == "2000000000"
    assert "--death-timeout 45" in submit["Arguments"]
    assert "OMP_NUM_THREADS=2" in submit["Arguments"]
    assert submit["MY.JobFlavour"] == '"longlunch"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cores: 4\n", "unknown key 'cores'"),
        ("memory: 3\n", "memory is 3, which is of the wrong type"),
        ("disk: 1GB\n", "SLURMCluster says"),
        ("- a\n", "not a YAML mapping"),
    ],
)
def test_a_wrong_configuration_is_named(text, message, script, tmp_path):
    with pytest.raises(InputError, match=r"cluster\.yml") as error:
        script("slurm", text)
    assert message in str(error.value)


def test_without_dask_jobqueue_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(InputError, match=r"pip install -r requirements-scale\.txt"), Place(batch_system="slurm").client():
        pass


def test_no_configuration_is_none():
    assert cluster_config(None) == {}


def test_signals_are_handled_as_before(script):
    """dask-jobqueue sets a handler where it is imported, with which Ctrl-C would be no interruption."""
    for name in [name for name in sys.modules if name.startswith("dask_jobqueue")]:
        del sys.modules[name]
    before = signal.getsignal(signal.SIGINT)
    script("slurm", "memory: 1GB\n")
    assert signal.getsignal(signal.SIGINT) is before
