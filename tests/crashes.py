"""A slide's folder with a few follicles, and processes that correct it and are killed at a random moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

from follicles import make_follicle
from shapely.geometry import MultiPolygon, Point, box

from follicle_stager.annotations import read_geojson, read_sections, write_geojson, write_sections
from follicle_stager.corrections import ReviewSession, standing
from follicle_stager.corrections.standing import FOLLICLES, SECTIONS
from follicle_stager.records import Section, follicle_id
from follicle_stager.stages import Stage

RUN = "run1"

# Whatever a person can do, in a random order; each edit is confirmed once it is on disk.
WORKER = """
import random, sys
from pathlib import Path
from shapely.geometry import LineString, Point
from follicle_stager.errors import UserError
from follicle_stager.corrections import ReviewSession
from follicle_stager.records import Follicle, Shape
from follicle_stager.stages import Countable, Health, Stage
session = ReviewSession(Path(sys.argv[1]), "run1", author="Ada")
chance = random.Random(int(sys.argv[2]))
print("open", flush=True)
while True:
    one = chance.choice(session.follicles)
    x, y = one.outline.representative_point().coords[0]
    section = chance.choice(session.sections).section_id
    commands = [
        lambda: session.set_stage([one.id], chance.choice(list(Stage))),
        lambda: session.set_health([one.id], chance.choice(list(Health))),
        lambda: session.set_countable([one.id], chance.choice(list(Countable))),
        lambda: session.accept([one.id]),
        lambda: session.delete([one.id]),
        lambda: session.add(Follicle("", "s section 1", Shape(Point(x + 50, y).buffer(9)))),
        lambda: session.reshape(one.id, one.outline.buffer(1)),
        lambda: session.split(one.id, LineString([(x, y - 500), (x + 1, y + 500)])),
        lambda: session.merge([f.id for f in session.follicles if f.outline.intersects(one.outline)]),
        lambda: session.assign({section: (chance.choice("ABC"), "L")}),
        lambda: session.set_included([section], chance.random() < 0.5, "torn"),
        lambda: session.merge_sections([section, chance.choice(session.sections).section_id]),
        lambda: session.exclude_region(Point(x, y).buffer(30), "fold"),
        session.undo,
        session.undo,
        session.undo,
        session.redo,
        session.save,
    ]
    try:
        edit = chance.choice(commands)()
    except UserError:
        continue
    if edit is not None:
        print(edit.id, flush=True)
"""


def follicle(x, y=100.0, radius=20.0, **given):
    outline = Point(x, y).buffer(radius)
    values = {"stage": Stage.SECONDARY, "stage_predicted": Stage.SECONDARY, "oocyte": Point(x, y).buffer(radius / 3)}
    return make_follicle(follicle_id("s section 1", outline), "s section 1", outline, **(values | given))


SECTIONS_THERE = [
    Section(f"s section {n}", MultiPolygon([box(1000 * n - 1000, 0, 1000 * n - 100, 900)]), 0.81, n) for n in (1, 2, 3)
]


def slide_folder(path, follicles, run_id=RUN):
    write_geojson(path / "predictions" / f"{run_id}.geojson", follicles)
    write_geojson(path / FOLLICLES, follicles)
    write_sections(path / "predictions" / f"{run_id}.sections.geojson", SECTIONS_THERE)
    write_sections(path / SECTIONS, SECTIONS_THERE)
    return path


def kill_at_random(folder, run_id, *, times, command=None, first=0, within_s=0.3):
    """Kill a process that corrects; every edit that it confirmed must be there, and all files must be readable.

    Returns how many edits were confirmed. ``command`` is started with a number behind it (by default `WORKER`), and
    killed at a random moment ``within_s`` after it has confirmed 0 to ``first`` edits.
    """
    chance = random.Random(5)
    confirmed = []
    for number in range(times):
        worker = subprocess.Popen(
            [*(command or (sys.executable, "-c", WORKER, str(folder))), str(number)], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout.readline() == "open\n", "it did not start"
        confirmed += [worker.stdout.readline().strip() for _ in range(chance.randint(0, first))]
        time.sleep(chance.uniform(0, within_s))
        assert worker.poll() is None, "it ended by itself"
        worker.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        # The last line may be torn, and was not confirmed then.
        confirmed += [line.strip() for line in worker.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        worker.wait()
        stands = standing(folder, run_id)
        assert {edit.id for edit in stands.edits} >= set(confirmed)
        assert not stands.imported, "what the killed process wrote is its own"
        read_geojson(folder / FOLLICLES)
        read_sections(folder / SECTIONS)
    assert confirmed, "the processes did nothing"
    with ReviewSession(folder, run_id, author="Ada") as session:
        assert session.follicles == tuple(stands.state.follicles.values())
        assert session.sections == tuple(stands.state.sections.values())
    return len(confirmed)
