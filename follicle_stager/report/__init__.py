"""The overlay of a slide, and the report of a study.

Each is imported when it is first used: a process that draws overlays needs neither figures nor statistics.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"html": ["write_report"], "overlay": ["draw_overlay"]}
)

if TYPE_CHECKING:
    from follicle_stager.report.html import write_report as write_report
    from follicle_stager.report.overlay import draw_overlay as draw_overlay
