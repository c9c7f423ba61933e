"""The script of docs/howto-python.md that opens a window."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import follicle_stager as fs

ROOT = Path(__file__).parents[2]
SCRIPTS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "howto-python.md").read_text(encoding="utf-8"), re.S)


def test_annotating_a_slide_from_a_script(tmp_path, monkeypatch, capsys, make_napari_viewer):
    import napari
    from follicle_stager_napari.panel import ReviewPanel

    made = []
    real = ReviewPanel.__init__

    def remembered(panel, viewer):
        made.append(panel)
        real(panel, viewer)

    def person():
        """Gives the follicle in view another stage, and closes the window."""
        reviewer = made[0].reviewer
        reviewer.desk.set_stage(fs.Stage.CORPUS_LUTEUM)

    monkeypatch.setattr(ReviewPanel, "__init__", remembered)
    monkeypatch.setattr(napari, "run", person)
    monkeypatch.setattr(napari, "Viewer", lambda **options: make_napari_viewer(**options))
    (tmp_path / "slides").mkdir()
    shutil.copy(ROOT / "example_slides" / "Igfals_WT_1_1.ome.tif", tmp_path / "slides")
    monkeypatch.chdir(tmp_path)
    exec(compile(SCRIPTS[2], "howto-python.md", "exec"), {"__name__": "__main__"})
    assert "-> Corpus luteum (corrected)" in capsys.readouterr().out
