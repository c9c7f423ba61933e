"""Review the slides of a study, without a user interface: the queue of follicles, and the commands."""

from typing import TYPE_CHECKING

import lazy_loader

from follicle_stager.review.queue import Filter, Order, Progress, progress, queue, uncertainty

# A report needs the queue only, and none of what a desk measures outlines with.
__getattr__ = lazy_loader.attach(__name__, submod_attrs={"desk": ["Desk"]})[0]

if TYPE_CHECKING:
    from follicle_stager.review.desk import Desk

__all__ = ["Desk", "Filter", "Order", "Progress", "progress", "queue", "uncertainty"]
