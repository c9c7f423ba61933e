"""follicle-stager: find, stage and count ovarian follicles in mouse histology.

The library reads brightfield sections, outlines follicles, measures them in micrometres and gives each a
stage with readable reasons. It imports no Qt and no napari; the screen lives in ``follicle_stager_napari``.
"""

__version__ = "0.1.0"
