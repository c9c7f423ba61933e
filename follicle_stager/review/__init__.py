"""Review the slides of a study, without a user interface: the queue of follicles, and the commands."""

from follicle_stager.review.desk import Desk
from follicle_stager.review.queue import Filter, Order, Progress, progress, queue, uncertainty

__all__ = ["Desk", "Filter", "Order", "Progress", "progress", "queue", "uncertainty"]
