"""From counts to a verdict: where does a genotype block, and how sure are we? The animal is the unit throughout."""

from follicle_stager.statistics.arrest import Arrest, Verdict, find_arrest
from follicle_stager.statistics.comparison import Comparison, compare
from follicle_stager.statistics.hand_counts import compare_counts
from follicle_stager.statistics.matrix import CountKind, CountMatrix, count_matrices
from follicle_stager.statistics.write import write_comparison

__all__ = [
    "Arrest",
    "Comparison",
    "CountMatrix",
    "CountKind",
    "Verdict",
    "compare",
    "compare_counts",
    "count_matrices",
    "find_arrest",
    "write_comparison",
]
