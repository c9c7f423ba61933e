"""Take the pictures of docs/review.md: napari with the panel, on two of the example slides.

    xvfb-run -a -s "-screen 0 1700x1100x24" python tools/make_review_pictures.py [--work build/review]

Needs the extra ``napari`` and a screen (Xvfb is one).
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from follicle_stager_napari.auditing import AuditPanel
from follicle_stager_napari.keymap import ACTIONS
from follicle_stager_napari.layers import vertices
from follicle_stager_napari.panel import ReviewPanel
from follicle_stager_napari.widgets import Tall
from PIL import Image
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QToolButton
from shapely.geometry import LineString

from follicle_stager import examples
from follicle_stager.audit import plan_audit
from follicle_stager.batch import run_batch
from follicle_stager.config import Config
from follicle_stager.stages import Stage
from follicle_stager.study import Study, list_slides

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

PICTURES = Path(__file__).parents[1] / "docs" / "review"
SLIDES = ("Igfals_KO_1_1", "Igfals_WT_1_1")


def main() -> None:
    """Make the study, sit down, take pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/review"))
    work = parser.parse_args().work
    study = _study(work)
    viewer = napari.Viewer(show=False)
    panel = ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Follicle review", area="right")
    viewer.window.show()
    viewer.window.resize(1640, 1060)  # after show, which restores the size of the user's last napari window
    actions = {action.key: action for action in ACTIONS}

    def picture(name: str, grab: Callable[[], np.ndarray] | None = None) -> None:
        _wait(0.9)
        shot = grab() if grab else _shot(viewer)
        PICTURES.mkdir(exist_ok=True)
        image = Image.fromarray(np.ascontiguousarray(shot[..., :3]))
        image.resize((image.width * 4 // 5, image.height * 4 // 5), Image.Resampling.LANCZOS).save(
            PICTURES / f"{name}.jpg", quality=84
        )
        print(f"wrote {PICTURES / name}.jpg")

    panel.open_study(study.path)
    reviewer = panel.reviewer
    assert reviewer is not None

    def press(*keys: str) -> None:
        for key in keys:
            reviewer.act(actions[key])

    _scroll(panel, 0)
    picture("open")
    press("5", "Enter", "Enter", "Q")
    _scroll(panel, 1)
    picture("review")
    desk = reviewer.desk
    largest = max(desk.follicles, key=lambda f: f.outline.area)
    desk.walk.go_to(largest.id)
    x, y = largest.outline.centroid.coords[0]
    radius = (largest.outline.area / np.pi) ** 0.5
    desk.outlines.split(LineString([(x + 3, y - 2 * radius), (x - 3, y + 2 * radius)]))
    reviewer.show()
    press("D")
    reviewer.layer.selected_data = {[f.id for f in desk.follicles].index(largest.id)}
    picture("outlines")
    press("Control-Z", "S")
    reviewer.ask_for("box", panel.find_within)
    left, top, right, bottom = desk.study.sections(desk.slide_id)[0].outline.bounds
    viewer.scene.camera.center = ((top + bottom) / 2, (left + right) / 2)
    viewer.scene.camera.zoom = 0.8
    corners = vertices(largest.outline.envelope.buffer(60, join_style="mitre"))
    reviewer.layer.add_rectangles([corners[:4]])
    while panel.work.busy:
        _wait(0.05)
    _scroll(panel, 0)
    picture("find")
    desk.walk.sort()
    press("G")
    panel.gallery._stage.setCurrentText(Stage.SECONDARY.label)
    picture("gallery")
    press("F1")
    picture("keys", lambda: _array(panel._keys))
    panel._keys.close()
    assert panel._gallery_dock is not None
    panel._gallery_dock.close()
    _scroll(panel, 2)
    picture("count")
    desk.walk.let_go()
    fold = next(head for head in panel.counts.findChildren(QToolButton) if head.text() == "Sections")
    fold.setChecked(True)
    first, *_, last = desk.tissue.sections
    desk.tissue.exclude_region(largest.outline.buffer(40), "fold")
    desk.tissue.include([last.section_id], False, "out of focus")
    desk.tissue.assign([first.section_id], desk.tissue.owners[0])
    desk.tissue.judge_whole([first.section_id])
    reviewer.show()
    viewer.fit_to_view()
    _wait(0.6)
    _scroll(panel, 2)
    picture("sections")
    panel.close_study()
    viewer.close()
    _audit(study, picture)


def _audit(study: Study, picture: Callable[[str, Callable[[], np.ndarray]], None]) -> None:
    """A field of an audit in which a claim and a mark differ."""
    shutil.rmtree(study.path / "audit", ignore_errors=True)
    plan_audit(study, seed=3).write(study)
    viewer = napari.Viewer(show=False)
    panel = AuditPanel(viewer, study)
    viewer.window.add_dock_widget(panel, name="Audit", area="right")
    viewer.window.show()
    viewer.window.resize(1640, 1060)
    desk = panel.desk
    assert desk is not None
    while desk.key is not None and not any(c.stage is Stage.SECONDARY for c in desk.session.claims(desk.key)):
        desk.accept()
    _wait(0.9)
    panel._show_field()
    assert desk.key is not None
    for number, claim in enumerate(desk.session.claims(desk.key)):
        desk.mark(claim.x_px, claim.y_px, claim.stage if number else Stage.PRIMARY)
    desk.accept()
    panel._refresh("")
    picture("audit", lambda: _shot(viewer))
    panel.finish()
    viewer.close()


def _shot(viewer: napari.Viewer) -> np.ndarray:
    return np.asarray(viewer.window.screenshot(flash=False, canvas_only=False))


def _wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def _study(work: Path) -> Study:
    folder = examples.folder()
    sources = [s for s in list_slides(folder) if s.slide_id in SLIDES]
    study = Study.create(work / "study", Config())
    run_batch(study, sources, Config())
    for slide in study.slide_ids():  # pictures of a study that nobody has touched
        for name in ("edits.jsonl", "follicles.geojson", "sections.geojson"):
            (study.slide_folder(slide) / name).unlink(missing_ok=True)
    (study.path / "blinding.jsonl").unlink(missing_ok=True)
    rows = (folder / "samples.csv").read_text(encoding="utf-8").splitlines()
    study.samples_path.write_text("\n".join(r for r in rows if r.startswith(("slide", *SLIDES))) + "\n")
    return study


def _scroll(panel: ReviewPanel, third: int) -> None:
    tall = panel.findChild(Tall)
    assert tall is not None
    bar = tall.verticalScrollBar()
    bar.setValue(bar.maximum() * third // 2)


def _array(widget: QWidget) -> np.ndarray:
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    width, height, line = image.width(), image.height(), image.bytesPerLine()
    return np.frombuffer(image.constBits(), np.uint8).reshape(height, line)[:, : 3 * width].reshape(height, width, 3)


if __name__ == "__main__":
    main()
