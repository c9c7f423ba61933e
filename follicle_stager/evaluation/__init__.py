"""How good a result is against a truth, and how far two readers agree."""

from follicle_stager.evaluation.annotators import Agreement, agreement, cohen_kappa, weighted_kappa
from follicle_stager.evaluation.pairs import load_pairs
from follicle_stager.evaluation.scores import Criterion, Evaluation, SlidePair, evaluate
from follicle_stager.matching import Match, box_iou, match_outlines, match_points

__all__ = [
    "Agreement",
    "Criterion",
    "Evaluation",
    "Match",
    "SlidePair",
    "agreement",
    "box_iou",
    "cohen_kappa",
    "evaluate",
    "load_pairs",
    "match_outlines",
    "match_points",
    "weighted_kappa",
]
