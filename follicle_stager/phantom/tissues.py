"""The kinds of tissue in a section, and the appearance of each on a good slide.

Amounts of stain are relative: 1 is a dark somatic nucleus in hematoxylin, or well-stained muscle in eosin.
All values were set by eye [M].
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tissue:
    """Appearance of a tissue: cells in a matrix. Lengths in µm, amounts of stain relative."""

    pitch: float = 0.0
    """Distance between cells; 0 for none."""
    nucleus: float = 0.0
    """Radius of a nucleus."""
    elongation: float = 1.0
    dark: float = 0.8
    """Hematoxylin of a nucleus that fills the section."""
    dark_cv: float = 0.18
    vesicular: float = 0.3
    """Share by which the middle of a nucleus is paler."""
    cytoplasm: float = 1.7
    """Ratio of the radius of the cell body to that of its nucleus."""
    between: float = 1.0
    """Ratio of the stain between cell bodies to that inside; low if white gaps separate the cells."""
    basophil: float = 0.0
    """Hematoxylin of the matrix."""
    eosin: float = 0.0
    pas: float = 0.0
    gaps: float = 0.0
    """Share of the matrix that is gaps."""
    hollow: float = 0.0
    """Share of cells without a nucleus."""
    pyknotic: float = 0.0
    """Share of nuclei that are shrunken and dark."""
    grain: float = 0.2
    """Graininess of the matrix."""


TISSUES: dict[str, Tissue] = {
    "glass": Tissue(),
    "lumen": Tissue(grain=0.0),
    "fluid": Tissue(basophil=0.015, eosin=0.07, pas=0.10, grain=0.35),
    "ooplasm": Tissue(basophil=0.10, eosin=0.34, pas=0.22, grain=0.22),
    "zona": Tissue(basophil=0.04, eosin=0.50, pas=0.95, grain=0.05),
    "stroma": Tissue(6.5, 2.5, 2.5, 0.90, 0.2, 0.3, 1.8, 0.5, 0.07, 0.50, 0.35, 0.04, 0.06, 0.0, 0.3),
    "cortex": Tissue(6.3, 2.4, 2.2, 0.92, 0.2, 0.2, 1.7, 0.6, 0.10, 0.42, 0.32, 0.02, 0.05, 0.0, 0.3),
    "gland": Tissue(7.1, 2.9, 1.2, 0.85, 0.2, 0.35, 1.6, 0.22, 0.12, 0.42, 0.25, 0.08, 0.05, 0.0, 0.2),
    "medulla": Tissue(8.6, 2.5, 2.2, 0.80, 0.2, 0.3, 1.8, 0.35, 0.04, 0.38, 0.30, 0.14, 0.08, 0.0, 0.35),
    "granulosa": Tissue(6.4, 2.9, 1.15, 0.90, 0.16, 0.35, 1.5, 0.45, 0.20, 0.20, 0.15, 0.035, 0.02, 0.01, 0.2),
    "granulosa rim": Tissue(6.2, 2.9, 1.25, 0.95, 0.14, 0.35, 1.5, 0.6, 0.20, 0.22, 0.16, 0.01, 0.02, 0.005, 0.2),
    "flat granulosa": Tissue(7.5, 2.1, 2.8, 0.95, 0.2, 0.1, 1.5, 0.8, 0.10, 0.30, 0.2, 0.0, 0.0, 0.0, 0.2),
    "dying granulosa": Tissue(7.2, 2.5, 1.1, 0.90, 0.2, 0.3, 1.5, 0.4, 0.14, 0.24, 0.2, 0.16, 0.15, 0.0, 0.25),
    "membrane": Tissue(basophil=0.10, eosin=0.62, pas=1.05, grain=0.1),
    "theca": Tissue(6.2, 2.1, 3.4, 0.88, 0.2, 0.2, 1.5, 0.6, 0.08, 0.48, 0.35, 0.015, 0.03, 0.0, 0.2),
    "fresh luteal": Tissue(9.0, 3.2, 1.1, 0.72, 0.2, 0.4, 2.1, 0.5, 0.10, 0.55, 0.3, 0.05, 0.06, 0.0, 0.2),
    "luteal": Tissue(11.5, 3.4, 1.1, 0.66, 0.25, 0.45, 2.5, 0.55, 0.09, 0.66, 0.3, 0.025, 0.08, 0.0, 0.2),
    "regressing luteal": Tissue(8.2, 2.7, 1.2, 0.85, 0.25, 0.2, 1.9, 0.6, 0.16, 0.42, 0.45, 0.07, 0.06, 0.08, 0.3),
    "clot": Tissue(16.0, 2.5, 1.2, 0.8, 0.2, 0.2, 1.6, 0.9, 0.03, 0.85, 0.4, 0.08, 0.5, 0.0, 0.4),
    "scar": Tissue(11.0, 2.2, 3.0, 0.75, 0.2, 0.2, 1.7, 0.8, 0.03, 0.50, 0.5, 0.05, 0.2, 0.0, 0.4),
    "vessel wall": Tissue(6.6, 1.9, 3.8, 0.9, 0.2, 0.1, 1.6, 0.8, 0.05, 0.68, 0.45, 0.0, 0.05, 0.0, 0.2),
    "tube epithelium": Tissue(5.6, 2.5, 1.8, 0.95, 0.15, 0.2, 1.5, 0.7, 0.15, 0.40, 0.3, 0.0, 0.02, 0.0, 0.2),
    "blood": Tissue(5.4, 2.9, 1.0, 0.0, 0.0, 0.0, 1.05, 0.25, 0.05, 1.25, 0.5, 0.05, 0.0, 0.0, 0.15),
    "plasma": Tissue(basophil=0.02, eosin=0.32, pas=0.30, grain=0.2),
    "fat wall": Tissue(14.0, 1.8, 3.0, 0.8, 0.2, 0.1, 1.5, 0.9, 0.03, 0.45, 0.4, 0.0, 0.2, 0.0, 0.2),
    "bursa": Tissue(9.0, 1.9, 3.8, 0.85, 0.2, 0.1, 1.6, 0.8, 0.05, 0.50, 0.4, 0.0, 0.1, 0.0, 0.25),
    "epithelium": Tissue(5.8, 2.4, 1.3, 0.92, 0.15, 0.2, 1.5, 0.7, 0.12, 0.35, 0.3, 0.0, 0.03, 0.0, 0.2),
}

CODE: dict[str, int] = {name: code for code, name in enumerate(TISSUES)}

#: Columns of the table of tissues: the fields of `Tissue`.
COLUMNS: dict[str, int] = {f.name: i for i, f in enumerate(fields(Tissue))}


def table() -> NDArray[np.float64]:
    """Table of all tissues, (kind, column) float64."""
    return np.array([[getattr(t, name) for name in COLUMNS] for t in TISSUES.values()], np.float64)
