"""A person at the slides of a study, without a screen: which follicle comes next, and what is done to it."""

from follicle_stager.review.desk import Desk
from follicle_stager.review.queue import Filter, Order, Progress, progress, queue, uncertainty

__all__ = ["Desk", "Filter", "Order", "Progress", "progress", "queue", "uncertainty"]
