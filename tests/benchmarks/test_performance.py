"""Speed and memory, as ratios to a baseline that is measured in the same run; they make docs/performance.md."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage

from follicle_stager import examples
from follicle_stager.batch import run_batch
from follicle_stager.config import Config
from follicle_stager.detection import passes
from follicle_stager.detection.network import layout, model
from follicle_stager.detection.network.engines import ENGINES, REFERENCE
from follicle_stager.detection.search import search
from follicle_stager.phantom import GenotypeModel, build_ovary, faithful, render_slide, series
from follicle_stager.phantom.slide import write_ome_tiff
from follicle_stager.pipeline import process_slide
from follicle_stager.report import draw_overlay
from follicle_stager.slides import open_slide
from follicle_stager.study import Study, list_slides
from follicle_stager.tissue import survey

SECTION_PX, SECTION_MPP = (8000, 12_000), 0.25
RUNS = 5
# The command, and at the end its own peak in kB: what the system reports of a child counts this process too.
PEAK = """
import sys
from pathlib import Path
from follicle_stager.cli import main
try:
    main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""


def command(*words: object, code: str = "", path: Path | None = None) -> tuple[float, str]:
    """Run the command line; its seconds, and what it wrote to the error stream. ``path`` is of another version."""
    start = ["-c", code or "from follicle_stager.cli import main; main()"]
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    cwd = path or Path(__file__).parents[2]  # Python takes a package from here first
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *start, *map(str, words)], capture_output=True, text=True, env=env, cwd=cwd)
    seconds = time.perf_counter() - began
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return seconds, done.stderr


def median_of(measure, runs: int) -> float:
    return statistics.median(measure() for _ in range(runs))


def timed(do) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


@pytest.fixture(scope="module")
def mouse_section(tmp_path_factory):
    """One mouse section of a 40x scan: a pyramid, and the same picture without one."""
    rng = np.random.default_rng(2)
    ovary = build_ovary(rng, GenotypeModel())
    cuts = series(ovary, thickness_um=5, interval=1)
    look = faithful(rng, "H&E", faults=0)
    picture = render_slide(ovary, [cuts[len(cuts) // 2]], look, rng, mpp=2 * SECTION_MPP).picture
    height, width = (side // 2 for side in SECTION_PX)
    canvas = np.full((height, width, 3), 246, np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture[:height, :width]
    # Finer pixels than the renderer needs to draw: the network reads them averaged.
    whole = canvas.repeat(2, axis=0).repeat(2, axis=1)
    folder = tmp_path_factory.mktemp("section")
    write_ome_tiff(folder / "pyramid.ome.tif", whole, mpp=SECTION_MPP)
    resolution = {"resolution": (1e4 / SECTION_MPP,) * 2, "resolutionunit": "CENTIMETER"}
    kept = {"tiles": {"tile": (512, 512), "compression": "jpeg"}, "strips": {"rowsperstrip": 64, "compression": "lzw"}}
    for name, how in kept.items():
        tifffile.imwrite(folder / f"{name}.tif", whole, photometric="rgb", **how, **resolution)
    return folder


def test_one_section(mouse_section, tmp_path, figure, before):
    """A run against decoding all its pixels and the network alone; and the version before."""
    path, shapes = mouse_section / "pyramid.ome.tif", []

    def search() -> None:
        with open_slide(path) as slide:
            result = process_slide(slide, Config())
            draw_overlay(slide, result)

    def decode() -> None:
        with open_slide(path) as slide:
            for y in range(0, slide.height, 2000):
                slide.read_region(0, y, slide.width, 2000, 0)

    networks = [model.load(model.SHIPPED, index, REFERENCE) for index in range(len(model.describe().scales))]
    for network in networks:
        network._run = spied(network._run, shapes)
    search()
    pictures = [np.zeros(shape, np.float32) for shape in shapes]

    def infer() -> None:
        for picture in pictures:
            networks[0]._run(picture)

    study = itertools.count()

    def stage(version: Path | None) -> float:
        return command("stage", path, "--out", tmp_path / f"s{next(study)}", path=version)[0]

    # Side by side, because a machine is not equally fast all the time.
    rounds = [(timed(search), timed(decode) + timed(infer), stage(None)) for _ in range(RUNS)]
    run, bare, whole = map(statistics.median, zip(*rounds, strict=True))
    to = "decoding all its pixels + the bare network"
    figure("one section: search and overlay", f"{run:.1f} s", run / bare, to, 1.4)
    figure("one section: the command `stage`", f"{whole:.1f} s", whole / run, "search and overlay, in Python", None)
    if before is not None:
        new, old = map(statistics.median, zip(*((stage(None), stage(before)) for _ in range(RUNS)), strict=True))
        figure("one section: the command `stage`", f"{new:.1f} s", new / old, f"version {before.name}", None)


def spied(run, shapes):
    def spy(picture):
        shapes.append(picture.shape)
        return run(picture)

    return spy


@pytest.mark.parametrize("name", list(ENGINES))
def test_engines(name, figure):
    """The network alone, on equal tiles."""
    if not ENGINES[name].can_run():
        pytest.skip(f"{name} cannot run here")
    picture = np.zeros((3, 36 * layout.STEP, 36 * layout.STEP), np.float32)

    def speed(engine: str) -> float:
        network = model.Network(model.SHIPPED, model.describe().scales[0], engine)
        network(picture)
        return picture[0].size / 1e6 / median_of(lambda: timed(lambda: network(picture)), 7)

    own, reference = speed(name), speed(REFERENCE)
    said = f"{own:.1f} MP/s (aim 8)"
    figure(f"network, {name} ({ENGINES[name].precision()})", said, own / reference, f"{REFERENCE}, same picture", None)


def test_computed_pixels(mouse_section, figure):
    """Pixels that the network computes, and how many of them are surroundings that windows share with neighbours."""
    with open_slide(mouse_section / "pyramid.ome.tif") as slide:
        overview = survey(slide, Config().tissue)
        tissue_px = wide = narrow = 0
        for index, (scale, look) in enumerate(zip(model.describe().scales, passes(Config(), SECTION_MPP), strict=True)):
            tissue_px += overview.tissue.sum() * (overview.mpp / scale.mpp) ** 2
            wide += computed_px(slide, overview, look, index)
            narrow += computed_px(slide, overview, replace(look, margin_um=0.0), index)
    figure("pixels that the network computes", f"{wide / 1e6:.0f} million", wide / tissue_px, "pixels of tissue", None)
    to = "with margins of windows"
    figure("the same, without margins of windows", f"{narrow / 1e6:.0f} million", narrow / wide, to, None)


def computed_px(slide, overview, look, index: int) -> int:
    network, shapes = model.load(model.SHIPPED, index, REFERENCE), []
    run, network._run = network._run, spied(network._run, shapes)
    search(slide, overview, look)
    network._run = run
    return sum(height * width for *_, height, width in shapes)


def test_decoded_pixels(mouse_section, figure):
    """Decoded pixels of a run against the pixels of tissue, at the finest resolution that is read."""
    for name in ("pyramid.ome.tif", "tiles.tif", "strips.tif"):
        with open_slide(mouse_section / name) as slide:
            result = process_slide(slide, Config())
            draw_overlay(slide, result)
            finest = 0.5 if name.startswith("pyramid") else SECTION_MPP
            tissue_px = sum(s.area_mm2 for s in result.sections) * 1e6 / finest**2
            said = f"{slide.decoded_px / 1e6:.0f} million"
            aim = 1.3 if name.startswith("pyramid") else None
            kept = {
                "pyramid.ome.tif": "a pyramid",
                "tiles.tif": "tiles, no pyramid",
                "strips.tif": "strips, no pyramid",
            }
            figure(f"decoded pixels: {kept[name]}", said, slide.decoded_px / tissue_px, "pixels of tissue", aim)
            if name.startswith("pyramid"):
                overview = survey(slide, Config().tissue)
                least = 0
                for scale in model.describe().scales:
                    level = max(n for n in range(len(slide.levels)) if mpp_of(slide, n) <= scale.mpp)
                    tile_px, _ = slide.levels[level].chunk
                    least += px_of_tiles(overview, tile_px, mpp_of(slide, level), layout.REACH * scale.mpp)
                said = f"{least / 1e6:.0f} million"
                to = "pixels of tissue, if only tiles are read that a network sees"
                figure("decoded pixels: a pyramid, at least", said, least / tissue_px, to, None)


def mpp_of(slide, level: int) -> float:
    return SECTION_MPP * slide.downsample(level)[0]


def px_of_tiles(overview, tile_px: int, mpp: float, around_um: float) -> int:
    """Pixels of the tiles, at one resolution, that lie on the tissue or so near to it that the network sees them."""
    near = ndimage.distance_transform_edt(~overview.tissue) * overview.mpp <= around_um
    edges = [np.arange(0, side * overview.mpp / mpp, tile_px) for side in near.shape]
    rows, columns = ((start * mpp / overview.mpp).astype(int) for start in edges)
    tiles = np.logical_or.reduceat(np.logical_or.reduceat(near, rows, axis=0), columns, axis=1)
    return int(tiles.sum()) * tile_px**2


@pytest.mark.parametrize("kind", ["pyramid, OME-TIFF", "pyramid, OME-Zarr", "tiles, no pyramid", "strips, no pyramid"])
def test_peak_memory(kind, large_slide, tmp_path, figure):
    """A slide of 30,000 x 20,000 px, in files of all kinds."""
    path = {
        "pyramid, OME-TIFF": lambda: large_slide,
        "pyramid, OME-Zarr": lambda: as_zarr(large_slide, tmp_path / "large.ome.zarr"),
        "tiles, no pyramid": lambda: flat(large_slide, tmp_path / "large.tif", tile=(512, 512), compression="jpeg"),
        "strips, no pyramid": lambda: flat(
            large_slide, tmp_path / "large.tif", rowsperstrip=128, compression="deflate"
        ),
    }[kind]()
    _, said = command("stage", path, "--out", tmp_path / "s", code=PEAK)
    gb = int(said.split()[-1]) / 1e6
    figure(f"peak memory, 30,000 x 20,000 px: {kind}", f"{gb:.2f} GB", gb / 1.5, "1.5 GB", 1.0)


def flat(source: Path, target: Path, **how: object) -> Path:
    """The finest resolution alone."""
    with open_slide(source) as slide:
        mpp, whole = slide.pixel_size.mpp, slide.read_region(0, 0, slide.width, slide.height)
    per_cm = 1e4 / mpp
    tifffile.imwrite(target, whole, photometric="rgb", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", **how)
    return target


def as_zarr(source: Path, target: Path) -> Path:
    group, datasets = zarr.open_group(target, mode="w", zarr_format=2), []
    with open_slide(source) as slide:
        for index, level in enumerate(slide.levels):
            array = group.create_array(
                str(index), shape=(3, level.height, level.width), chunks=(3, 512, 512), dtype="u1"
            )
            array[:] = np.moveaxis(slide.read_region(0, 0, level.width, level.height, index), -1, 0)
            scale = [1, *(slide.pixel_size.mpp * down for down in slide.downsample(index)[::-1])]
            datasets.append({"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.attrs["omero"] = {"channels": [{"label": c, "color": "FFFFFF"} for c in "RGB"]}
    return target


def test_two_workers(tmp_path, figure):
    """The example slides, with one thread for each process; and workers of a cluster on this machine."""
    sources = list_slides(examples.folder())
    model.use_threads(1)
    try:
        one = timed(lambda: run_batch(Study.create(tmp_path / "one", Config()), sources, Config()))
    finally:
        model.use_threads(0)
    two = timed(lambda: run_batch(Study.create(tmp_path / "two", Config()), sources, Config(), jobs=2))
    figure("16 example slides, two processes", f"{two:.0f} s", one / two, "one process with one thread", 1.9)
    pytest.importorskip("distributed")
    from follicle_stager.cluster import connect_cluster

    with connect_cluster("local", workers=2) as cluster:
        study = Study.create(tmp_path / "cluster", Config())
        spread = timed(lambda: run_batch(study, sources, Config(), workers=cluster))
    slides = [
        sum(Study(tmp_path / n).run(s.slide_id).seconds["detection"] for s in sources) for n in ("cluster", "two")
    ]
    figure("16 example slides, two Dask workers", f"{spread:.0f} s", spread / two, "two processes", 1.05)
    figure("the same, without the start: detection", f"{slides[0]:.0f} s", slides[0] / slides[1], "two processes", 1.05)


@pytest.fixture
def hosts(tmp_path):
    """Functions to start a Dask scheduler, and workers on hosts of their own: network namespaces of this machine."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux and root")
    started, made = [], []

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def start(*words: str, host: int | None = None) -> subprocess.Popen:
        inside = ["ip", "netns", "exec", f"fsbench{host}"] if host is not None else []
        with (tmp_path / f"{len(started)}.log").open("w") as log:
            made_here = subprocess.Popen(
                [*inside, sys.executable, "-m", *words, "--no-dashboard"], stdout=log, stderr=log, cwd=tmp_path
            )
        started.append(made_here)
        return made_here

    def worker(host: int, threads: int) -> subprocess.Popen:
        name = f"fsbench{host}"
        if name not in made:
            ip("netns", "add", name)
            made.append(name)
            ip("link", "add", f"fsb{host}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("addr", "add", f"10.77.{host}.1/24", "dev", f"fsb{host}")
            ip("link", "set", f"fsb{host}", "up")
            for words in (("addr", "add", f"10.77.{host}.2/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                ip("-n", name, *words)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "route", "add", "default", "via", f"10.77.{host}.1")
        address = f"tcp://10.77.{host}.1:8791"
        return start(
            "distributed.cli.dask_worker", address, "--nthreads", str(threads), "--name", name, "--no-nanny", host=host
        )

    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    start("distributed.cli.dask_scheduler", "--host", "0.0.0.0", "--port", "8791")
    yield worker
    for process in started:
        process.kill()
        process.wait()
    for name in made:
        ip("netns", "del", name)


def test_hosts(hosts, tmp_path, figure):
    """Four workers on hosts of their own against one on the same processors; then one of them is killed."""
    pytest.importorskip("distributed")
    from follicle_stager.cluster import connect_cluster

    sources, seconds = list_slides(examples.folder()), {}
    with connect_cluster("tcp://127.0.0.1:8791") as cluster:

        def run(name: str, on_done=lambda outcome: None) -> None:
            study = Study.create(tmp_path / name, Config())
            cluster.workers(Config())  # they import what they need now
            seconds[name] = timed(lambda: run_batch(study, sources, Config(), workers=cluster, on_done=on_done))

        one = hosts(0, os.cpu_count())
        cluster.client.wait_for_workers(1, timeout=60)
        run("one")
        one.kill()
        workers = [hosts(number, 1) for number in range(1, 5)]
        while len(cluster.client.nthreads()) != 4:
            time.sleep(0.2)
        run("four")
        count = itertools.count(1)
        run("killed", lambda outcome: workers[0].kill() if next(count) == 6 else None)
    figure(
        "16 slides, 4 hosts on 2 cores", f"{seconds['four']:.0f} s", seconds["four"] / seconds["one"], "1 host", 1.05
    )
    lost = seconds["killed"] - seconds["four"]
    said = f"{lost:+.0f} s"
    figure(
        "the same, one host killed in the middle", said, lost / (seconds["four"] / 16 * 4), "a slide on 4 hosts", 1.0
    )
    for source in sources:
        files = [Study(tmp_path / n).slide_folder(source.slide_id) / "follicles.geojson" for n in seconds]
        assert len({file.read_bytes() for file in files}) == 1


NUMBERS = (10, 100, 500)


@pytest.fixture(scope="module")
def many(section_path, tmp_path_factory):
    """Folders of 10, 100 and 500 small slides of one picture, five for each animal, with their sample sheets."""
    folder, content = tmp_path_factory.mktemp("many"), section_path.read_bytes()
    for number in NUMBERS:
        own = folder / str(number)
        own.mkdir()
        rows = []
        for n in range(number):
            # Bytes after the end of the file make each slide another one.
            (own / f"s{n:03d}.ome.tif").write_bytes(content + n.to_bytes(2, "big"))
            animal = n * max(6, number // 5) // number
            group = ("WT,control", "KO,knockout")[animal % 2]
            rows.append(f"s{n:03d}.ome.tif,m{animal},{group}")
        (own / "samples.csv").write_text("slide,animal,genotype,group\n" + "\n".join(rows) + "\n")
    return folder


def test_cost_grows_with_the_number_of_slides(many, tmp_path, figure):
    """Seconds per slide of a run, and of the commands after it."""
    per_slide, whole = {}, {}
    for number in NUMBERS:
        slides, study = many / str(number), tmp_path / str(number)
        sheet = ("--samples", slides / "samples.csv", "--out", study)
        per_slide[number] = {"run": command("run", slides, *sheet)[0] / number}
        whole[number] = {name: command(name, study)[0] for name in ("count", "compare", "report")}
        whole[number]["resume"] = command("run", slides, *sheet)[0]
    start = whole[10]["resume"]  # start of Python, count, compare and report of ten slides
    alone = {number: (per_slide[number]["run"] * number - start) / number for number in NUMBERS}
    figure("run, seconds for a small slide, of 500", f"{alone[500]:.2f} s", alone[500] / alone[10], "of 10 slides", 1.2)
    figure("run, seconds for a small slide, of 100", f"{alone[100]:.2f} s", alone[100] / alone[10], "of 10 slides", 1.2)
    for name in ("count", "compare", "report", "resume"):
        said = ", ".join(f"{whole[number][name]:.1f} s" for number in NUMBERS)
        figure(f"{name}: 10, 100, 500 slides", said, whole[500][name] / 10, "10 s", 1.0)


def test_many_slides_with_faults(many, tmp_path, figure):
    """500 slides on two workers, every twentieth broken; a worker is killed for every 50 slides."""
    pytest.importorskip("distributed")
    import psutil

    from follicle_stager.cluster import connect_cluster

    slides, study = tmp_path / "slides", Study.create(tmp_path / "study", Config())
    shutil.copytree(many / "500", slides)
    sources = list_slides(slides)
    broken = {source.slide_id for source in sources[::20]}
    for source in sources[::20]:
        source.path.write_bytes(source.path.read_bytes()[:5000])
    killed = []
    with connect_cluster("local", workers=2) as cluster:

        def count(outcome) -> None:
            done.append(outcome.slide_id)
            if len(done) % 50 == 0 and len(done) < 500:
                pids = cluster.client.run(os.getpid)
                victim = psutil.Process(sorted(pids.values())[len(killed) % len(pids)])
                victim.kill()
                killed.append(victim.pid)

        done: list[str] = []
        seconds = timed(lambda: run_batch(study, sources, Config(), workers=cluster, on_done=count))
        again = run_batch(study, sources, Config(), workers=cluster)
    failed = {o.slide_id for o in again if o.state == "failed"}
    assert failed == broken
    right = sum(o.state == "kept" for o in again)
    follicles = {study.run(o.slide_id).follicles for o in again if o.state == "kept"}
    assert len(follicles) == 1, "all slides show the same section"
    said = f"{right} right, {len(failed)} reported, in {seconds:.0f} s"
    figure(
        f"500 slides, {len(broken)} broken, {len(killed)} workers killed", said, right / (500 - len(broken)), "all", 1
    )


def test_other_networks(figure):
    """Speed alone of the architecture that a user would take instead; without weights, on one picture."""
    torch = pytest.importorskip("torch")
    cellpose = pytest.importorskip("cellpose.resnet_torch", reason="pip install --no-deps cellpose==3.1.1.2")
    version = importlib.metadata.version("cellpose")
    net = cellpose.CPnet([2, 32, 64, 128, 256], 3, sz=3).eval()
    tile = torch.zeros((1, 2, 448, 448))
    with torch.no_grad():
        net(tile)
        theirs = 448 * 448 / 1e6 / median_of(lambda: timed(lambda: net(tile)), 5)
    picture = np.zeros((3, 14 * layout.STEP, 14 * layout.STEP), np.float32)
    network = model.Network(model.SHIPPED, model.describe().scales[0])
    network(picture)
    ours = picture[0].size / 1e6 / median_of(lambda: timed(lambda: network(picture)), 5)
    about = f"U-Net of Cellpose {version}, PyTorch, {theirs:.2f} MP/s"
    figure("network on a picture of 448 px", f"{ours:.1f} MP/s", ours / theirs, about, None)
