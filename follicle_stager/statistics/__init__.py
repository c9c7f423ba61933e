"""From counts to a verdict: where does a genotype block, and how sure are we? The animal is the unit throughout."""

from follicle_stager.statistics.arrest import Arrest, Verdict, find_arrest
from follicle_stager.statistics.compare import Comparison, compare_counts, compare_study
from follicle_stager.statistics.matrix import Counted, CountMatrix, count_matrices

__all__ = [
    "Arrest",
    "Comparison",
    "CountMatrix",
    "Counted",
    "Verdict",
    "compare_counts",
    "compare_study",
    "count_matrices",
    "find_arrest",
]
