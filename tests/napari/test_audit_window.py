"""An audit from the plan to the report with real keys and mouse, killed in the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("napari")

from audit_worker import middle_of
from follicle_stager_napari.auditing import described
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton
from test_blind import SHEET, seen_names

from follicle_stager.audit import AuditPlan, AuditRecord, AuditResult, plan_audit
from follicle_stager.cli import app
from follicle_stager.config import AuditConfig
from follicle_stager.stages import Stage

WORKER = [sys.executable, str(Path(__file__).with_name("audit_worker.py"))]


@pytest.fixture
def planned(study):
    study.samples_path.write_text(SHEET.format(*study.slide_ids()))
    plan_audit(study, config=AuditConfig(field_um=200, share=0.3, repeats=2), seed=5).write(study)
    return study


@pytest.fixture
def sit_at_audit(make_napari_viewer, qtbot):
    from audit_worker import Reader
    from follicle_stager_napari.auditing import AuditPanel

    panels = []

    def sit(study, **options):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1400, 900)
        panel = AuditPanel(viewer, study, **options)
        panels.append(panel)
        viewer.window.add_dock_widget(panel)
        reader = Reader(viewer, panel)
        qtbot.wait(900)  # until the window is laid out
        return reader

    yield sit
    for panel in panels:
        panel.finish()


def test_an_audit_that_is_killed_goes_on_and_ends_in_a_report(planned, run_cli):
    visits = AuditPlan.read(planned).visits
    assert len(visits) > 20
    worker = subprocess.Popen([*WORKER, str(planned.path)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "open\n"
    shown = [int(worker.stdout.readline()) for _ in range(8)][-1]
    worker.kill()  # in the middle of the ninth visit
    worker.wait()
    record = AuditRecord.read(planned)
    assert sum(len(events) for events in record.last.values()) >= shown
    assert len(record.done(AuditPlan.read(planned))) >= 8
    early = run_cli("audit", "close", planned.path)
    assert early.exit_code == 2
    assert "--reason" in early.output
    again = subprocess.run([*WORKER, str(planned.path)], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    hidden = run_cli("compare", planned.path)
    assert hidden.exit_code == 2
    assert "hidden until the audit is closed" in hidden.output
    assert run_cli("audit", "close", planned.path).exit_code == 0
    assert run_cli("report", planned.path).exit_code == 0
    result = AuditResult.of(planned)
    assert len(result.record.done(result.plan)) == len(visits)
    # The reader finds what is claimed, and a secondary follicle in each field without a claim that has tissue.
    empty = [f for f in result.audited if not len(result.plan.claims.query("field == @f"))]
    seen = result.found["stage"].eq("secondary") & result.found["field"].isin(empty)
    assert 0.6 * len(empty) <= seen.sum() <= len(empty)
    assert seen.sum() == sum(len(result.record.visits[field, False].marks) for field in empty)
    page = (planned.path / "report.html").read_text(encoding="utf-8")
    assert "Counts were audited in" in page
    assert "blind to the labels" in page
    assert (planned.path / "tables" / "audited_by_animal.csv").exists()


@pytest.fixture
def run_cli():
    from typer.testing import CliRunner

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            from follicle_stager.errors import UserError

            assert isinstance(result.exception, UserError), result.exception
            result.exit_code = 2
            result.stdout_bytes += str(result.exception).encode()
            result.output_bytes = result.stdout_bytes
        return result

    return run


def test_no_name_is_seen_in_an_audit(planned, sit_at_audit, qtbot):
    reader = sit_at_audit(planned)
    for _ in range(3):
        reader.visit()
    reader.press(Qt.Key.Key_Return)
    reader.panel._say(f"{planned.slide_folder(planned.slide_ids()[0])}: mouse-17 of knockout is damaged")
    qtbot.wait(900)
    assert seen_names(reader, planned, least=60) == set()


def test_claims_are_hidden_until_the_field_is_marked(planned, sit_at_audit):
    reader = sit_at_audit(planned)
    desk, layers = reader.panel.desk, reader.panel._layers
    while not desk.session.claims(desk.key):
        reader.visit()
    claims = desk.session.claims(desk.key)
    assert len(layers._claims.data) == 0
    button = reader.panel.findChild(QPushButton, "Accept")
    assert button.text() == "Show claims  [Enter]"
    button.click()
    assert button.text() in ("Keep the claim  [Enter]", "Next field  [Enter]")
    assert len(layers._claims.data) == len(claims)
    words = [str(text) for text in layers._claims.text.values]
    assert words == [f"claim: {described(claim)}" for claim in claims], "also for those who see no colours"
    assert not desk.session.visit(desk.key).first
    QTest.keyClick(reader.canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert len(layers._claims.data) == len(claims), "they have been seen"
    assert "nothing to undo" in reader.panel._message.text()


def test_claims_can_be_shown_at_once(planned, sit_at_audit):
    reader = sit_at_audit(planned, hidden=False)
    desk = reader.panel.desk
    assert not desk.marking
    assert not desk.visit.hidden


def test_marks_are_where_the_pointer_is_and_keep_their_size(planned, sit_at_audit):
    reader = sit_at_audit(planned)
    desk, layers = reader.panel.desk, reader.panel._layers
    while (there := middle_of(desk)) is None:
        reader.visit()
    (x, y), (left, top, _, _) = there, desk.borders
    reader.point(x, y)
    reader.press(Qt.Key.Key_6)
    (mark,) = desk.marks
    assert (mark.x_px, mark.y_px) == pytest.approx((x, y), abs=2)
    assert mark.stage is Stage.ANTRAL
    before = layers._marks.size[0] * reader.viewer.scene.camera.zoom
    reader.viewer.scene.camera.zoom *= 3
    assert layers._marks.size[0] * reader.viewer.scene.camera.zoom == pytest.approx(before)
    reader.viewer.scene.camera.zoom /= 3
    reader.point(left - 5, top + 10)
    reader.press(Qt.Key.Key_6)
    said = reader.panel._message.text()
    assert "outside the field" in said or "not on the section" in said
    reader.point(x, y)
    reader.press(Qt.Key.Key_4)
    assert [m.stage for m in desk.marks] == [Stage.SECONDARY]
    reader.press(Qt.Key.Key_0)
    assert desk.marks == []
