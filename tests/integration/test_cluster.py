"""Slides on a Dask cluster: the same results, and what happens when workers differ, die or lose the folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import tifffile

distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")

from follicle_stager.batch import run_batch  # noqa: E402
from follicle_stager.cluster import Cluster, SharedFolder, connect_cluster  # noqa: E402
from follicle_stager.cluster.orders import said_here  # noqa: E402
from follicle_stager.config import Config  # noqa: E402
from follicle_stager.detection.network.model import SHIPPED  # noqa: E402
from follicle_stager.errors import UserError  # noqa: E402
from follicle_stager.phantom.slide import write_ome_tiff  # noqa: E402
from follicle_stager.study import Study, list_slides  # noqa: E402

# Parts of run.json that differ between two runs of the same kind.
TIMES = {"finished", "seconds"}


class Machines:
    """A scheduler, and workers that are processes of their own, as on other machines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address_file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen] = {}
        self._scheduler = self._start("scheduler", "--scheduler-file", self.address_file, "--port", "0")

    def _start(self, kind: str, *options: object, env: dict[str, str] | None = None) -> subprocess.Popen:
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *map(str, options), "--no-dashboard"]
        with (self._folder / f"{kind}{len(self.workers)}.log").open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | (env or {}), cwd=self._folder)

    def wait(self) -> None:
        until = time.monotonic() + 60
        while not self.address_file.exists() and time.monotonic() < until:
            time.sleep(0.1)

    def add(self, name: str, **env: str) -> None:
        options = ("--scheduler-file", self.address_file, "--name", name, "--nthreads", 1, "--no-nanny")
        self.workers[name] = self._start("worker", *options, env=env)

    def kill(self, name: str) -> None:
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in (*self.workers.values(), self._scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    made = Machines(tmp_path_factory.mktemp("machines"))
    made.wait()
    yield made
    made.close()


@pytest.fixture
def two(machines):
    """The connection to a scheduler with two workers, A and B."""
    for name in ("A", "B"):
        if name not in machines.workers:
            machines.add(name)
    said: list[str] = []
    with connect_cluster(str(machines.address_file), told=said.append) as made:
        made.client.wait_for_workers(2, timeout=60)
        yield made, said
    for name in list(machines.workers):
        if name not in "AB":
            machines.kill(name)


@pytest.fixture(scope="module")
def alone(cohort, tmp_path_factory):
    """The study as one process makes it."""
    study = Study.create(tmp_path_factory.mktemp("alone") / "study", Config())
    run_batch(study, list_slides(cohort), Config())
    return study


def assert_same(study: Study, other: Study) -> None:
    assert study.slide_ids() == other.slide_ids()
    for slide in study.slide_ids():
        folders = [s.slide_folder(slide) for s in (study, other)]
        names = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
        assert names[0] == names[1]
        for name in names[0]:
            a, b = (folder / name for folder in folders)
            if name.name == "run.json":
                ours, theirs = ({k: v for k, v in json.loads(p.read_text()).items() if k not in TIMES} for p in (a, b))
                relative = (ours.pop("source_in_study"), theirs.pop("source_in_study"))
                assert ours == theirs
                assert (study.path / relative[0]).resolve() == (other.path / relative[1]).resolve()
            else:
                assert a.read_bytes() == b.read_bytes(), name


def test_a_cluster_gives_the_same_files_byte_for_byte(two, alone, cohort, tmp_path):
    cluster, said = two
    study, steps = Study.create(tmp_path / "study", Config()), set()
    sources = list_slides(cohort)
    outcomes = run_batch(
        study, sources, Config(), workers=cluster, on_progress=lambda slide, step, done, total: steps.add((slide, step))
    )
    assert [o.state for o in outcomes] == ["done"] * len(sources)
    assert {slide for slide, _ in steps} == {s.slide_id for s in sources}
    assert_same(study, alone)
    assert not said
    # A second run has nothing to send away.
    assert [o.state for o in run_batch(study, sources, Config(), workers=cluster)] == ["kept"] * len(sources)


def test_a_large_slide_is_searched_by_several_workers(two, section, tmp_path):
    """The windows of both scales are looked at on different workers, and joined."""
    cluster, _ = two
    slides = tmp_path / "slides"
    slides.mkdir()
    write_ome_tiff(slides / "large.ome.tif", section[1].repeat(2, axis=0).repeat(2, axis=1), mpp=0.5)
    sources = list_slides(slides)
    studies = [Study.create(tmp_path / name, Config()) for name in ("split", "whole")]
    splitting = Cluster(cluster.client, split_above=1)
    for study, workers in zip(studies, (splitting, None), strict=True):
        (outcome,) = run_batch(study, sources, Config(), workers=workers)
        assert outcome.state == "done"
        assert outcome.follicles
    assert_same(*studies)
    # Two windows of a damaged slide fail; the slide fails once.
    path, done = slides / "large.ome.tif", []
    with tifffile.TiffFile(path) as file:
        page = file.series[0].levels[0].pages[0]
        starts, lengths = page.dataoffsets, page.databytecounts
    content = bytearray(path.read_bytes())
    for start, length in zip(starts, lengths, strict=True):
        content[start : start + length] = bytes(length)
    path.write_bytes(content)
    study = Study.create(tmp_path / "broken", Config())
    (outcome,) = run_batch(study, sources, Config(), workers=splitting, on_done=done.append)
    assert done == [outcome]
    assert outcome.state == "failed"
    assert "cannot be read" in outcome.message


def test_a_worker_that_dies_costs_only_its_slide(two, alone, cohort, tmp_path, machines):
    cluster, _ = two
    study, killed = Study.create(tmp_path / "study", Config()), []

    def kill(slide: str, step: str, done: int, total: int) -> None:
        if not killed and step == "detection":
            killed.append(slide)
            machines.kill("B")

    outcomes = run_batch(study, list_slides(cohort), Config(), workers=cluster, on_progress=kill)
    assert killed
    assert {o.state for o in outcomes} == {"done"}
    assert_same(study, alone)


def test_a_worker_with_another_version_gets_no_slides_and_is_named(two, cohort, tmp_path, machines):
    cluster, said = two
    old = tmp_path / "old" / "follicle_stager"
    old.mkdir(parents=True)
    (old / "__init__.py").touch()
    (old / "version.py").write_text('__version__ = "0.0.1"\n')
    machines.add("outdated", PYTHONPATH=str(old.parent))
    cluster.client.wait_for_workers(3, timeout=60)
    found = {worker.name: worker.refused for worker in cluster.workers(Config())}
    assert found["A"] == found["B"] == ""
    assert "follicle-stager 0.0.1, not" in found["outdated"]
    study = Study.create(tmp_path / "study", Config())
    (outcome,) = run_batch(study, list_slides(cohort)[:1], Config(), workers=cluster)
    assert outcome.state == "done"
    assert any("outdated" in one and "0.0.1" in one for one in said)


def test_workers_that_are_all_refused_are_named_at_once(two, cohort, tmp_path):
    cluster, _ = two
    config = Config().with_options(detection={"detector": "network"}, network={"folder": str(tmp_path / "gone")})
    shutil.copytree(SHIPPED, tmp_path / "gone")
    study = Study.create(tmp_path / "study", config)
    study.request(list_slides(cohort)[0].path, config)
    elsewhere = Cluster(cluster.client, [SharedFolder(str(tmp_path / "gone"), str(tmp_path / "nowhere"))])
    with pytest.raises(UserError, match=r"No worker can process the slides\..*nowhere"):
        run_batch(study, list_slides(cohort)[:1], config, workers=elsewhere)


def test_a_worker_without_the_shared_folder_costs_no_slide(two, alone, cohort, tmp_path, machines):
    """All slides fail on it at once; it would take most of them otherwise."""
    cluster, said = two
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib\n"
        "real = pathlib.Path.exists\n"
        f"pathlib.Path.exists = lambda p, **k: not str(p).startswith({str(cohort)!r}) and real(p, **k)\n"
    )
    machines.add("lost", PYTHONPATH=str(tmp_path))
    cluster.client.wait_for_workers(3, timeout=60)
    assert "no such file" in cluster.readable(list_slides(cohort)[0].path)["lost"]
    study = Study.create(tmp_path / "study", Config())
    outcomes = run_batch(study, list_slides(cohort), Config(), workers=cluster)
    assert {o.state for o in outcomes} == {"done"}
    assert_same(study, alone)
    assert not any("lost" in o.message for o in outcomes)


def test_a_broken_slide_fails_with_its_reason_and_the_worker(two, cohort, tmp_path):
    cluster, _ = two
    slides = tmp_path / "slides"
    slides.mkdir()
    (slides / "broken.tif").write_bytes(b"II*\0broken")
    shutil.copy(list_slides(cohort)[0].path, slides)
    study = Study.create(tmp_path / "study", Config())
    outcomes = {o.slide_id: o for o in run_batch(study, list_slides(slides), Config(), workers=cluster)}
    assert outcomes["broken"].state == "failed"
    assert "broken.tif" in outcomes["broken"].message
    assert "(worker " in outcomes["broken"].message
    assert [o.state for o in outcomes.values()].count("done") == 1


def test_a_slide_that_no_worker_finds_is_named_with_both_paths(two, cohort, tmp_path):
    cluster, said = two
    wrong = SharedFolder(str(cohort), str(tmp_path / "nowhere"))
    unused = SharedFolder(str(tmp_path / "other"), "/mnt/other")
    source = list_slides(cohort)[0]
    workers = Cluster(cluster.client, [wrong, unused], told=said.append)
    (outcome,) = run_batch(Study.create(tmp_path / "study", Config()), [source], Config(), workers=workers)
    assert outcome.state == "failed"
    assert outcome.message.startswith(f"{source.path}: worker ")
    assert f"does not find {tmp_path / 'nowhere' / source.path.name}. Share" in outcome.message
    assert outcome.message.endswith("give --map HERE=THERE.")
    assert said == [f"--map {unused.here}=/mnt/other: this run uses nothing in {unused.here}."]


def test_a_folder_may_have_another_path_on_the_workers(two, alone, cohort, tmp_path):
    """Here it is a link: results and messages have the path of this machine."""
    cluster, _ = two
    there = tmp_path / "there"
    there.symlink_to(cohort, target_is_directory=True)
    (tmp_path / "study").mkdir()
    moved = Cluster(cluster.client, [SharedFolder.parse(f"{cohort}={there}")])
    study = Study.create(tmp_path / "study", Config())
    (outcome,) = run_batch(study, list_slides(cohort)[:1], Config(), workers=moved)
    assert outcome.state == "done"
    (slide,) = study.slide_ids()
    assert study.run(slide).source == alone.run(slide).source


@pytest.mark.parametrize(
    ("text", "path", "there"),
    [
        ("/data=/mnt/lab", "/data/a/b.tif", "/mnt/lab/a/b.tif"),
        ("/data/=/mnt/lab/", "/data", "/mnt/lab"),
        ("/data=Z:\\lab", "/data/a.tif", "Z:\\lab/a.tif"),
        ("/data=/mnt/lab", "/database/a.tif", None),
        ("/data=/", "/data/a.tif", "/a.tif"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="paths of POSIX")
def test_paths_on_the_workers(text, path, there):
    assert SharedFolder.parse(text).to_there(Path(path)) == there


@pytest.mark.parametrize(
    ("folders", "said", "here"),
    [
        ({"/mnt/data": "/lab"}, "/mnt/data/a.tif: no such file", "/lab/a.tif: no such file"),
        ({"/mnt/data": "/lab"}, "in /mnt/data.", "in /lab."),
        ({"/mnt/data": "/lab"}, "/mnt/database/a.tif, /x/mnt/data, /mnt/data.old", None),
        ({"/": "/lab"}, "/a.tif: 3 of 4 px/µm and / or", "/lab/a.tif: 3 of 4 px/µm and / or"),
        ({"/host": "/"}, "/host/a.tif in /host", "/a.tif in /"),
        ({"/data": "/data/lab"}, "/data/a.tif", "/data/lab/a.tif"),
        ({"/a": "/b", "/b": "/c", "/b/b": "/d"}, "/a/a.tif /b/b.tif /b/b/x.tif", "/b/a.tif /c/b.tif /d/x.tif"),
        ({"Z:\\data": "/lab"}, "Z:\\data\\a.tif", "/lab\\a.tif"),
        ({}, "/a.tif", None),
    ],
)
def test_a_message_of_a_worker_has_the_paths_of_this_machine(folders, said, here):
    assert said_here(said, folders) == (here or said)


def test_a_map_that_is_no_pair_of_paths_is_refused():
    with pytest.raises(UserError, match="HERE|the path here"):
        SharedFolder.parse("/data")


def test_a_scheduler_that_does_not_answer_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("follicle_stager.cluster.connection._CONNECT_S", 1.0)
    with pytest.raises(UserError, match=r"no Dask scheduler answers there"), connect_cluster("tcp://127.0.0.1:1"):
        pass


@pytest.mark.parametrize("where", ["slrum", "localhost", "", "tcp://localhost", "tcp://localhost:abc", "ucx://a:1"])
def test_what_is_no_address_is_refused_at_once(where):
    with pytest.raises(UserError, match="this is no address of a Dask scheduler"), connect_cluster(where):
        pass


@pytest.mark.parametrize(("content", "said"), [(None, "no such file"), ("{}", "does not have the address")])
def test_a_scheduler_file_is_read_before_dask_waits_for_it(content, said, tmp_path):
    file = tmp_path / "scheduler.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=said), connect_cluster(str(file)):
        pass


def test_a_scheduler_that_stops_ends_the_run_with_what_is_done(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("follicle_stager.cluster.connection._CONNECT_S", 3.0)
    own = tmp_path / "machines"
    own.mkdir()
    machines = Machines(own)
    try:
        machines.wait()
        machines.add("A")
        study, done = Study.create(tmp_path / "study", Config()), []

        def stop(outcome) -> None:
            done.append(outcome)
            machines.close()

        with (
            connect_cluster(str(machines.address_file)) as cluster,
            pytest.raises(UserError, match="no longer answers. Finished slides are kept"),
        ):
            run_batch(study, list_slides(cohort), Config(), workers=cluster, on_done=stop)
        assert study.slide_ids() == [outcome.slide_id for outcome in done]
    finally:
        machines.close()


def test_doctor_says_so_if_no_worker_comes(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("follicle_stager.cluster.connection.PATIENCE_S", 1.0)
    machines = Machines(tmp_path)
    try:
        machines.wait()
        code, shown = cli("doctor", "--cluster", machines.address_file)
        assert code == 1
        assert "waiting for one, up to 1 s" in shown
        assert "No worker came. Start one" in shown
        machines.add("A")
        with connect_cluster(str(machines.address_file)) as cluster:
            cluster.client.wait_for_workers(1, timeout=60)
        study, slides = Study.create(tmp_path / "study", Config()).path, tmp_path / "slides"
        slides.mkdir()
        for folder in (study, slides):
            code, shown = cli("doctor", "--cluster", machines.address_file, folder)
            assert (code, "No worker came" in shown) == (0, False)
    finally:
        machines.close()


def test_a_cluster_here_takes_no_port_that_another_program_may_have():
    with socket.socket() as other, warnings.catch_warnings():
        with contextlib.suppress(OSError):  # somebody has it already
            other.bind(("", 8787))
            other.listen()
        warnings.filterwarnings("error", message="Port")
        with connect_cluster("local", workers=1) as cluster:
            assert len(cluster.client.nthreads()) == 1


def test_a_batch_system_that_is_not_here_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"--cluster slurm: the command sbatch is not found"), connect_cluster("slurm"):
        pass


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """An imitation of SLURM: it refuses the first job, and runs all others at once."""
    commands, spool = tmp_path / "commands", tmp_path / "spool"
    commands.mkdir()
    spool.mkdir()
    for name, does in {
        "sbatch": f"""
            mkdir {spool}/refused 2>/dev/null && {{ echo "error: too many jobs" >&2; exit 1; }}
            cp "$1" {spool}/$$.sh
            setsid sh {spool}/$$.sh >{spool}/$$.log 2>&1 &
            echo "Submitted batch job $!"
        """,
        "scancel": "kill -9 -- -$1",
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{does}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setattr("follicle_stager.cluster.batch_system._LOOK_S", 1.0)
    return commands / "sbatch"


@pytest.mark.skipif(sys.platform != "linux", reason="the imitation of SLURM runs on Linux")
def test_jobs_that_are_refused_or_reach_their_time_limit_are_submitted_again(slurm, alone, cohort, tmp_path):
    said, ids, ended = [], set(), []
    study = Study.create(tmp_path / "study", Config())
    with connect_cluster("slurm", workers=2, told=said.append) as cluster:
        assert said == ["sbatch refused 1 of 2 jobs: error: too many jobs. They are submitted again later."]
        cluster.client.wait_for_workers(2, timeout=60)

        def end(slide: str, step: str, done: int, total: int) -> None:
            ids.update(job.job_id for job in cluster.client.cluster.workers.values())
            if step == "detection" and not ended:
                ended.extend(cluster.client.cluster.workers.values())
                for job in ended:
                    os.killpg(int(job.job_id), signal.SIGKILL)

        outcomes = run_batch(study, list_slides(cohort), Config(), workers=cluster, on_progress=end)
    assert len(ended) == 2, "all workers at once"
    assert len(ids) > 2, "others came"
    assert "Jobs that ended, and are submitted again: " in said[-1]
    assert {o.state for o in outcomes} == {"done"}
    assert_same(study, alone)


@pytest.mark.skipif(sys.platform != "linux", reason="the imitation of SLURM runs on Linux")
def test_a_job_of_two_workers_is_submitted_again(slurm, tmp_path):
    import dask

    (tmp_path / "spool" / "refused").mkdir()
    with dask.config.set({"jobqueue.slurm.processes": 2}), connect_cluster("slurm", workers=1) as cluster:
        cluster.client.wait_for_workers(2, timeout=60)
        jobs, workers = cluster.client.cluster.workers, set(cluster.client.nthreads())
        (first,) = (job.job_id for job in jobs.values())
        os.killpg(int(first), signal.SIGKILL)
        until = time.monotonic() + 60
        while len(set(cluster.client.nthreads()) - workers) < 2 and time.monotonic() < until:
            time.sleep(0.2)
        assert [job.job_id != first for job in jobs.values()] == [True]


@pytest.mark.skipif(sys.platform != "linux", reason="the imitation of SLURM runs on Linux")
def test_a_batch_system_that_refuses_all_jobs_says_why(slurm):
    slurm.write_text('#!/bin/sh\necho "error: invalid partition specified: debug" >&2\nexit 1\n')
    with (
        pytest.raises(UserError, match=r"sbatch refused all jobs: error: invalid partition specified: debug\. Check"),
        connect_cluster("slurm"),
    ):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="the imitation of SLURM runs on Linux")
def test_ctrl_c_on_a_batch_system_is_an_interrupt(slurm, tmp_path):
    """dask-jobqueue would end the program with exit code 0, as if the study were complete."""
    (tmp_path / "spool" / "refused").mkdir()
    code = (
        "import os, signal\n"
        "from follicle_stager.cluster import connect_cluster\n"
        "if __name__ == '__main__':\n"
        "    with connect_cluster('slurm', workers=1):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode != 0
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_with_workers_here_shows_no_traceback_of_theirs(cohort, tmp_path):
    """A terminal interrupts all processes, those of Dask as well."""
    command = [sys.executable, "-m", "follicle_stager", "stage", cohort, "--out", tmp_path / "study"]
    run = subprocess.Popen(
        [*map(str, command), "--cluster", "local", "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not list(tmp_path.glob("study/slides/*/run.json")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert "Traceback" not in said
    assert "stopped; finished slides are kept" in said
