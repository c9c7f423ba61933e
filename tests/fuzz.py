"""Damaged and hostile files at random: no traceback, no hang, no more memory than a small machine has.

``python tests/fuzz.py --seconds 600`` (or ``make fuzz``) tries file after file in a process of its own, and prints the
seed of each that breaks a promise; ``--seed N`` tries one again. What a seed does depends on nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import tifffile
import zarr
from crashes import RUN, follicle, slide_folder
from PIL import Image
from scanners import half, tissue, write_ndpi, write_philips, write_scn, write_sis, write_svs

from follicle_stager.annotations import write_rois
from follicle_stager.cli import main
from follicle_stager.config import Config
from follicle_stager.corrections import ReviewSession
from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, Stage
from follicle_stager.study import Study

#: What no file may take.
MOST_S, MOST_MB = 60, 1500

_ODD = [None, [], {}, "", "x", -1, 0, 5, 10**400, 1e308, -1e308, True, [[]], [None], {"a": None}]
_ODD += ["\ud800", "=1+1", "\0", "\0deep"]
_ODD_NUMBERS = [0, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 100_000, 400_000]


def make_slides(folder: Path) -> None:
    """A small file of each kind of slide."""
    picture = np.full((384, 512, 3), 240, np.uint8)
    picture[60:330, 80:430] = tissue(320, 352)[:270, :350] // 2 + 90
    write_svs(folder / "a.svs", picture)
    write_ndpi(folder / "ndpi.tif", picture)
    write_scn(folder / "a.scn", [picture, half(picture)])
    write_philips(folder / "philips.tiff", picture)
    write_sis(folder / "sis.tif", picture)
    scale = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    tifffile.imwrite(folder / "tiles.tif", picture, tile=(64, 64), compression="zlib", **scale)
    tifffile.imwrite(folder / "strips.tif", picture, rowsperstrip=50, compression="lzw", **scale)
    tifffile.imwrite(folder / "raw.tif", picture, **scale)
    with tifffile.TiffWriter(folder / "sub.ome.tif", ome=True) as tif:
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tif.write(picture, subifds=1, tile=(64, 64), photometric="rgb", metadata=metadata)
        tif.write(half(picture), subfiletype=1, tile=(64, 64), photometric="rgb")
    for name in ("a.png", "a.jpg", "a.bmp"):
        Image.fromarray(picture).save(folder / name, dpi=(50_800, 50_800))
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2)
    for level, pixels in enumerate((picture, half(picture))):
        group.create_array(str(level), shape=pixels.shape, chunks=(64, 64, 3), dtype="uint8")[:] = pixels
    scales = [[{"type": "scale", "scale": [size, size, 1]}] for size in (0.5, 1)]
    sets = [{"path": str(i), "coordinateTransformations": own} for i, own in enumerate(scales)]
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"] + [{"name": "c", "type": "channel"}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": sets}]


def make_study(folder: Path) -> None:
    """A study of two slides, one of them corrected."""
    study = Study.create(folder, Config())
    for name in ("s", "t"):
        place = slide_folder(study.slide_folder(name), [follicle(100 + 80 * i) for i in range(5)])
        info = {"run_id": RUN, "content": name, "mpp_x": 0.5, "mpp_y": 0.5, "mpp_source": "a", "source": f"{name}.tif"}
        info |= {"visible_stages": list(LADDER), "flags": ["a"], "quality": {}}
        (place / "run.json").write_text(json.dumps(info))
    with ReviewSession(study.slide_folder("s"), RUN, author="A") as session:
        for one in session.follicles[:3]:
            session.set_stage([one.id], Stage.ANTRAL)
        session.exclude_region(session.follicles[4].outline.buffer(5), "fold")
    write_rois(folder / "rois.zip", [follicle(100 + 80 * i) for i in range(5)])
    sheet = "slide,animal,genotype,group,ovary,interval,thickness_um\ns,1,+/+,control,L,10,5\nt,2,-/-,knockout,R,10,5\n"
    study.samples_path.write_text(sheet)


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Change a file as a bad copy, a bad disk or a bad person does."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        at = chance.randrange(len(changed)) if changed else 0
        # Headers hold what matters.
        at = chance.choice((at, min(at, chance.randrange(1, 600))))
        what = chance.randrange(7)
        if what == 0 and changed:
            changed[at % len(changed)] ^= 1 << chance.randrange(8)
        elif what == 1:
            del changed[at : at + chance.randrange(1, 40)]
        elif what == 2:
            changed[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
        elif what == 3:
            del changed[at + 8 :]
        elif what == 4:
            number = chance.choice(_ODD_NUMBERS)
            changed[at : at + 4] = number.to_bytes(4, chance.choice(("little", "big")))
        elif what == 5:
            changed[at:at] = changed[at : at + chance.randrange(1, 200)] * chance.randrange(1, 20)
        else:
            changed[at : at + 2] = chance.choice(_ODD_NUMBERS[:9]).to_bytes(4, "little")[:2]
    return bytes(changed)


# How a TIFF begins: classic and BigTIFF, little and big endian.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def mutate_tiff(path: Path, chance: random.Random) -> None:
    """Give tags of a TIFF other values, in place."""
    try:
        with tifffile.TiffFile(path) as tif:
            places = [(tag.offset, tag.valueoffset) for page in tif.pages for tag in page.tags]
    except Exception:
        places = []
    content = bytearray(path.read_bytes())
    for offset, value in chance.sample(places, min(len(places), chance.choice((1, 1, 2, 4)))):
        where = chance.choice((offset + 2, offset + 4, value, value, value))
        width = chance.choice((2, 4))
        number = chance.choice(_ODD_NUMBERS) % 2 ** (8 * width)
        content[where : where + width] = number.to_bytes(width, "little")
    path.write_bytes(bytes(content))


def mutate_json(text: str, chance: random.Random) -> str:
    """Put odd values into JSON, or into one of its lines."""
    lines = text.splitlines() if chance.random() < 0.5 and text.count("\n") else [text]
    which = chance.randrange(len(lines))
    try:
        data = json.loads(lines[which].rstrip(","))
    except ValueError:
        return text
    for _ in range(chance.choice((1, 1, 3))):
        node, key, seen = None, None, [(None, None, data)]
        while seen:  # a random place, however deep
            node, key, value = chance.choice(seen)
            inner = list(
                value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
            )
            if not inner or chance.random() < 0.25:
                break
            seen = [(value, k, v) for k, v in inner]
        if node is None:
            data = chance.choice(_ODD)
            break
        if isinstance(node, dict) and chance.random() < 0.2:
            del node[key]
        else:
            node[key] = chance.choice(_ODD)
    lines[which] = json.dumps(data).replace('"\\u0000deep"', "[" * 5000)
    return "\n".join(lines) + "\n"


def attempt(seed: int, base: Path, work: Path) -> None:
    """Damage one file of one kind, and run what reads it.

    Raises
    ------
    AssertionError
        If a promise was broken.
    """
    chance = random.Random(seed)
    shutil.rmtree(work, ignore_errors=True)
    kind = chance.choice(("slide", "slide", "study", "study", "sheet", "outlines"))
    commands: list[list[str]]
    if kind == "slide":
        work.mkdir()
        source = chance.choice(sorted((base / "slides").iterdir()))
        target = work / source.name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        if source.is_dir():
            file = chance.choice(sorted(p for p in target.rglob("*") if p.is_file()))
            _damage(file, chance)
        elif source.read_bytes()[:4] in _TIFF and chance.random() < 0.6:
            mutate_tiff(target, chance)
        else:
            target.write_bytes(mutate_bytes(target.read_bytes(), chance))
        commands = [["stage", str(target), "--out", str(work / "o"), "--detector", "classical", "--mpp", "1"]]
        commands.append(["doctor", str(target)])
    else:
        shutil.copytree(base / "study", work)
        commands = [["count", str(work)], ["report", str(work)]]
        if kind == "sheet":
            _damage(work / "samples.csv", chance)
            commands = [["count", str(work), "--samples", str(work / "samples.csv")]]
        elif kind == "outlines":
            file = chance.choice((work / "rois.zip", work / "slides" / "t" / "follicles.geojson"))
            _damage(file, chance)
            commands = [["convert", str(file), str(work / "o.geojson")], ["agreement", *[str(file)] * 2, "--mpp", "1"]]
            commands.append(["evaluate", *[str(file)] * 2])
        else:
            names = ["run.json", "edits.jsonl", "follicles.geojson", "sections.geojson", f"predictions/{RUN}.geojson"]
            file = chance.choice([work / "study.toml", *(work / "slides" / "s" / name for name in names)])
            _damage(file, chance)
    for command in commands:
        code, said = call(command)
        assert "Traceback" not in said, said
        assert "defect of the software" not in said, said
        assert code in (0, 1, 2), f"exit code {code}: {said}"


def _damage(file: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    if file.suffix in (".json", ".jsonl", ".geojson", ".zattrs", ".zarray", "") and chance.random() < 0.75:
        with contextlib.suppress(UnicodeDecodeError):
            text = mutate_json(content.decode(), chance)
            file.write_bytes(text.encode("utf-8", "backslashreplace"))
            return
    file.write_bytes(mutate_bytes(content, chance))


def call(command: list[str]) -> tuple[object, str]:
    """Run a command as a person does; gives its exit code and all that it said."""
    said = io.StringIO()
    arguments, sys.argv = sys.argv, ["follicle-stager", *command]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
        return 0, said.getvalue()
    except SystemExit as end:
        return end.code or 0, said.getvalue()
    except Exception:
        return -1, said.getvalue() + traceback.format_exc()
    finally:
        sys.argv = arguments


def worker(first: int, base: Path) -> None:
    """Try seed after seed; the parent watches. One line when a seed begins, one when it has ended."""
    speak = sys.stdout
    work = base / f"work_{first}"
    seed = first
    while True:
        print(f"begin {seed}", file=speak, flush=True)
        try:
            attempt(seed, base, work)
        except AssertionError as error:
            print(f"broken {seed} {json.dumps(str(error)[-3000:])}", file=speak, flush=True)
        mb = _most_memory_mb()
        if mb > MOST_MB:
            print(f"broken {seed} {json.dumps(f'{mb} MB of memory')}", file=speak, flush=True)
            return
        seed += 1


def _most_memory_mb() -> int:
    """The most memory that this process had so far; the system's usage would hold its parent's too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def fuzz(seconds: float, first: int = 0) -> tuple[int, list[tuple[int, str]]]:
    """Try files for so long.

    Returns
    -------
    tried : int
        How many.
    broken : list of (int, str)
        Seeds, and what they did.
    """
    tried, broken, seed = 0, list[tuple[int, str]](), first
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        (base / "slides").mkdir()
        make_slides(base / "slides")
        make_study(base / "study")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            command = [sys.executable, __file__, "--worker", str(seed), "--base", place]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            lines: queue.SimpleQueue[str] = queue.SimpleQueue()
            threading.Thread(target=lambda p=process, q=lines: [q.put(line) for line in p.stdout], daemon=True).start()
            while time.monotonic() < end:
                try:
                    kind, number, *more = lines.get(timeout=MOST_S).split(" ", 2)
                except queue.Empty:
                    ended = process.poll() is not None
                    broken.append((seed, f"the process ended ({process.returncode})" if ended else f"over {MOST_S} s"))
                    break
                if kind == "begin":
                    seed, tried = int(number), tried + 1
                else:
                    broken.append((int(number), json.loads(more[0])))
                    if "MB of memory" in broken[-1][1]:
                        break
            process.kill()
            process.wait()
            seed += 1
    return tried, broken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="try this one alone, and keep its files")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        worker(given.worker, given.base)
    elif given.seed is not None:
        kept = Path(tempfile.mkdtemp(prefix="fuzz_"))
        (kept / "slides").mkdir()
        make_slides(kept / "slides")
        make_study(kept / "study")
        try:
            attempt(given.seed, kept, kept / "work")
        except (AssertionError, UserError) as error:
            print(error)
        print(f"its files: {kept / 'work'}")
    else:
        count, failures = fuzz(given.seconds, given.first)
        for failed, why in failures:
            print(f"seed {failed}: {why}\n")
        print(f"{count} files tried, {len(failures)} broke a promise")
        sys.exit(bool(failures))
