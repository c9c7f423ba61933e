"""Process the slides of a study on several machines, with Dask.

A Dask scheduler hands out the work; dask-jobqueue starts workers on a batch system (SLURM, SGE, PBS). Only paths and
outlines travel, never pixels: each worker reads the slides from a shared folder and writes the results there, as a
process of `batch` does. One worker processes one slide at a time. A very large slide is searched by several workers,
window by window.

A worker with other software or another network would give other results, so each worker that joins is examined, and
only those that fit get work (`at_worker.examination`). A slide that fails on one worker is tried once more on another,
because the worker may have lost the shared folder; a worker on which slides fail that succeed elsewhere gets no more
work.

What travels is in `orders`, what runs on a worker in `at_worker`, who may work in `crew`, which slide comes next in
`dispatch`, and how jobs are submitted in `batch_system`.
"""

from follicle_stager.cluster.connection import Cluster, connect_cluster
from follicle_stager.cluster.crew import Worker
from follicle_stager.cluster.orders import SharedFolder

__all__ = ["Cluster", "SharedFolder", "Worker", "connect_cluster"]
