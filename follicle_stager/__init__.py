"""follicle-stager: find, stage and count ovarian follicles in mouse histology.

The library reads brightfield sections, outlines follicles, measures them in micrometres and gives each a stage with
readable reasons. It imports no Qt and no napari; the screen lives in ``follicle_stager_napari``.

The names below are the public interface. Each is imported when it is first used, so ``import follicle_stager`` is fast.
"""

from typing import TYPE_CHECKING

import lazy_loader

from follicle_stager.version import __version__

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "annotations": ["read_outlines", "write_geojson", "write_rois"],
        "audit": ["AuditPlan", "AuditResult", "plan_audit"],
        "batch": ["process_folder", "run_batch"],
        "cluster": ["connect_cluster"],
        "config": ["Config", "load_config"],
        "errors": ["UserError"],
        "evaluation": ["agreement", "evaluate", "load_pairs"],
        "interactive": ["review_study"],
        "job": ["Outcome"],
        "learning": ["learn"],
        "pipeline": ["process_slide"],
        "pixel_size": ["PixelSize"],
        "records": ["Follicle", "Section", "SlideResult"],
        "report": ["draw_overlay", "write_report"],
        "slides": ["Slide", "open_slide"],
        "stages": ["LADDER", "Countable", "Health", "Stage", "Status"],
        "statistics": ["Comparison", "compare", "compare_counts", "write_comparison"],
        "study": ["Counts", "SampleSheet", "Study", "count", "list_slides", "load_study", "write_counts"],
    },
)
__all__ += ["__version__"]

if TYPE_CHECKING:
    from follicle_stager.annotations import read_outlines as read_outlines
    from follicle_stager.annotations import write_geojson as write_geojson
    from follicle_stager.annotations import write_rois as write_rois
    from follicle_stager.audit import AuditPlan as AuditPlan
    from follicle_stager.audit import AuditResult as AuditResult
    from follicle_stager.audit import plan_audit as plan_audit
    from follicle_stager.batch import process_folder as process_folder
    from follicle_stager.batch import run_batch as run_batch
    from follicle_stager.cluster import connect_cluster as connect_cluster
    from follicle_stager.config import Config as Config
    from follicle_stager.config import load_config as load_config
    from follicle_stager.errors import UserError as UserError
    from follicle_stager.evaluation import agreement as agreement
    from follicle_stager.evaluation import evaluate as evaluate
    from follicle_stager.evaluation import load_pairs as load_pairs
    from follicle_stager.interactive import review_study as review_study
    from follicle_stager.job import Outcome as Outcome
    from follicle_stager.learning import learn as learn
    from follicle_stager.pipeline import process_slide as process_slide
    from follicle_stager.pixel_size import PixelSize as PixelSize
    from follicle_stager.records import Follicle as Follicle
    from follicle_stager.records import Section as Section
    from follicle_stager.records import SlideResult as SlideResult
    from follicle_stager.report import draw_overlay as draw_overlay
    from follicle_stager.report import write_report as write_report
    from follicle_stager.slides import Slide as Slide
    from follicle_stager.slides import open_slide as open_slide
    from follicle_stager.stages import LADDER as LADDER
    from follicle_stager.stages import Countable as Countable
    from follicle_stager.stages import Health as Health
    from follicle_stager.stages import Stage as Stage
    from follicle_stager.stages import Status as Status
    from follicle_stager.statistics import Comparison as Comparison
    from follicle_stager.statistics import compare as compare
    from follicle_stager.statistics import compare_counts as compare_counts
    from follicle_stager.statistics import write_comparison as write_comparison
    from follicle_stager.study import Counts as Counts
    from follicle_stager.study import SampleSheet as SampleSheet
    from follicle_stager.study import Study as Study
    from follicle_stager.study import count as count
    from follicle_stager.study import list_slides as list_slides
    from follicle_stager.study import load_study as load_study
    from follicle_stager.study import write_counts as write_counts
