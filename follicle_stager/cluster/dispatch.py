"""Which slide is processed next, on which worker, and what happens if it fails."""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections import Counter, deque
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from follicle_stager.cluster.at_worker import Large, Windows, look_there, process_there
from follicle_stager.errors import UserError
from follicle_stager.job import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from follicle_stager.cluster.crew import Crew
    from follicle_stager.cluster.orders import Order
    from follicle_stager.detection.search import Seen

# How often to look for new workers, s.
_LOOK_S = 2.0
# How long workers may take to appear before the user is told, s.
PATIENCE_S = 60.0
# Work that its worker has not had for so long is given to another worker, s.
_LOST_S = 4.0
# How long to wait for the answer of a worker before looking whether it has ended, s.
_FETCH_S = 2.0
# A slide that ended so many workers is not tried again.
_DEATHS = 3
# So many slides in a row that fail on a worker and succeed elsewhere are one too many.
_STRIKES = 3
_GONE = "The Dask scheduler no longer answers. Finished slides are kept: start the scheduler, and repeat the command."
_DIED = (
    f"{{path}}: {_DEATHS} workers ended while they processed it. Probably their memory ran out, or the time limit of "
    "their jobs is shorter than this slide takes."
)


@dataclass
class _Piece:
    """A piece of work: a slide, or some windows of a large one."""

    order: Order
    numbers: tuple[int, ...] = ()
    deaths: int = 0
    failed_on: tuple[str, ...] = ()
    first: Outcome | None = None


@dataclass
class _Handed:
    """A piece at a worker, and the time at which it was first missed there, s."""

    piece: _Piece
    worker: str
    missed_since_s: float = math.inf


@contextlib.contextmanager
def _scheduler() -> Iterator[None]:
    """Around all that asks the scheduler, which may be gone."""
    try:
        yield
    except (OSError, TimeoutError):
        raise UserError(_GONE) from None


class Dispatch:
    """Hands out the slides: each worker with the right to work has one at a time.

    If a worker dies, Dask gives its work to another one, but forgets it if there is none. This happens when all jobs of
    a batch system reach their time limit together. So each piece is given to one worker only, and is taken back here.
    """

    def __init__(
        self, crew: Crew, orders: Sequence[Order], right: str, finish: Callable[[Outcome], None], *, split_above: int
    ) -> None:
        self._crew, self._right, self._finish, self._split_above = crew, right, finish, split_above
        self._waiting = deque(_Piece(order) for order in orders)
        self._running: dict[Any, _Handed] = {}
        self._seen: dict[str, dict[int, Seen]] = {}
        self._windows: dict[str, int] = {}
        self._strikes: Counter[str] = Counter()
        self._struck: dict[str, str] = {}
        self._done: list[str] = []
        self._failed: set[str] = set()
        self._told_at = 0.0

    def run(self) -> list[str]:
        """Process all slides; return the names of those that are done."""
        alone_since = time.monotonic()
        try:
            while self._waiting or self._running:
                with _scheduler():
                    if self._crew.client.status in ("closing", "closed"):
                        raise UserError(_GONE)
                    lost = self._lost()
                    fit = [worker for worker in self._crew.fit(self._right) if worker not in self._struck]
                    self._hand_out(fit)
                for piece in lost:
                    self._try_again(piece)
                if fit:
                    alone_since, self._told_at = time.monotonic(), 0.0
                else:
                    self._check_for_workers(time.monotonic() - alone_since)
                for future in self._finished():
                    self._take(future, self._running.pop(future), fit)
        except BaseException:
            with contextlib.suppress(Exception):
                self._crew.client.cancel(list(self._running))
            raise
        return self._done

    def _finished(self) -> list[Any]:
        """What is finished now, or soon."""
        import distributed

        if not self._running:
            time.sleep(_LOOK_S)
            return []
        with _scheduler(), contextlib.suppress(TimeoutError, CancelledError):
            distributed.wait(list(self._running), timeout=_LOOK_S, return_when="FIRST_COMPLETED")
        return [future for future in self._running if future.done()]

    def _lost(self) -> list[_Piece]:
        """Take back the work of workers that are gone."""
        at_work, now = self._crew.client.processing() if self._running else {}, time.monotonic()
        for future, handed in self._running.items():
            is_there = future.done() or future.key in at_work.get(handed.worker, ())
            # If it is missed for the first time, its answer may be on the way.
            handed.missed_since_s = math.inf if is_there else min(handed.missed_since_s, now)
        lost = [future for future, handed in self._running.items() if now - handed.missed_since_s > _LOST_S]
        if not lost:
            return []
        self._crew.client.cancel(lost)
        there = self._crew.info()
        taken = [self._running.pop(future) for future in lost]
        # A worker that is still there had no memory left, or is about to end.
        return [replace(one.piece, deaths=one.piece.deaths + (one.worker not in there)) for one in taken]

    def _try_again(self, piece: _Piece) -> None:
        """Give a piece to another worker, unless too many have ended while they processed it."""
        if piece.order.slide_id in self._failed:
            return
        if piece.deaths < _DEATHS:
            self._waiting.appendleft(piece)
        else:
            self._fail(piece, Outcome(piece.order.slide_id, "failed", _DIED.format(path=piece.order.path)))

    def _hand_out(self, fit: list[str]) -> None:
        busy = Counter(handed.worker for handed in self._running.values())
        # A worker on which a slide just failed waits until it is known whose fault that was: a worker without the
        # shared folder fails at once, and would take all slides.
        open_cases = (*self._waiting, *(handed.piece for handed in self._running.values()))
        doubted = {worker for piece in open_cases for worker in piece.failed_on}
        trusted = [worker for worker in fit if worker not in doubted]
        without_strike = [worker for worker in trusted if not self._strikes[worker]]
        for worker in trusted or fit:
            if busy[worker]:
                continue
            # A worker that just failed a good slide may fail any: it gets no second try of another slide.
            second_tries = worker in without_strike or not without_strike
            suitable = (p for p in self._waiting if worker not in p.failed_on and (second_tries or not p.failed_on))
            piece = next(suitable, None)
            if piece is None and len(fit) == 1 and self._waiting:
                piece = self._waiting[0]
            if piece is None:
                continue
            self._waiting.remove(piece)
            split_above = self._split_above if len(fit) > 1 else None
            self._running[self._submit(piece, worker, split_above)] = _Handed(piece, worker)

    def _submit(self, piece: _Piece, worker: str, split_above: int | None) -> Any:
        topic = self._crew.topic
        how = {
            "workers": [worker],
            "resources": {self._right: 1},
            "pure": False,
            "key": f"{piece.order.slide_id}-{uuid.uuid4().hex[:8]}",
        }
        if piece.numbers:
            return self._crew.client.submit(look_there, piece.order, piece.numbers, topic, **how)
        return self._crew.client.submit(process_there, piece.order, topic, split_above, **how)

    def _take(self, future: Any, handed: _Handed, fit: list[str]) -> None:
        """Take the answer of a worker."""
        piece, worker, order = handed.piece, handed.worker, handed.piece.order
        if order.slide_id in self._failed:  # another window of the same slide
            return
        answer = self._answer(future, order)
        if answer is not None and not (isinstance(answer, Outcome) and answer.state == "failed"):
            self._strikes[worker] = 0
            if piece.failed_on:
                self._strike(piece)
        if answer is None:
            self._waiting.append(piece)
        elif isinstance(answer, Large):
            self._split(order, answer.windows, len(fit))
        elif isinstance(answer, Windows):
            self._join(piece, answer)
        elif answer.state != "failed":
            self._done.append(answer.slide_id)
            self._finish(answer)
        elif not piece.failed_on and len(fit) > 1:
            self._waiting.appendleft(replace(piece, failed_on=(worker,), first=answer))
        else:
            self._fail(piece, answer)

    def _fail(self, piece: _Piece, answer: Outcome) -> None:
        self._failed.add(answer.slide_id)
        self._waiting = deque(p for p in self._waiting if p.order.slide_id != answer.slide_id)
        self._finish(piece.first or answer)

    def _answer(self, future: Any, order: Order) -> Outcome | Large | Windows | None:
        """What a worker answers; None if the worker, or the scheduler, lost it."""
        with _scheduler():
            while future.status in ("finished", "error"):
                # The worker may end before its answer is here: the status then changes, and Dask would wait for ever.
                with contextlib.suppress(TimeoutError, CancelledError):
                    if future.status == "finished":
                        return future.result(timeout=_FETCH_S)  # type: ignore[no-any-return]
                    message = order.said_here(str(future.exception(timeout=_FETCH_S))).removeprefix(f"{order.path}: ")
                    return Outcome(order.slide_id, "failed", f"{order.path}: {message}")
            self._crew.client.cancel([future])
        return None

    def _strike(self, piece: _Piece) -> None:
        (before,) = piece.failed_on
        self._strikes[before] += 1
        if self._strikes[before] == _STRIKES and piece.first is not None:
            last = piece.first.message
            why = f"{_STRIKES} slides in a row failed there and succeeded elsewhere. The last error: {last}"
            self._struck[before] = why
            self._crew.told(f"worker {self._crew.name(before)} gets no more slides: {why}")

    def _split(self, order: Order, windows: int, workers: int) -> None:
        """Search a large slide with all workers; neighbouring windows go to the same one."""
        parts = max(1, min(windows, 2 * workers))
        edges = [windows * n // parts for n in range(parts + 1)]
        self._seen[order.slide_id], self._windows[order.slide_id] = {}, windows
        for start, stop in zip(edges[:-1], edges[1:], strict=True):
            self._waiting.appendleft(_Piece(order, tuple(range(start, stop))))

    def _join(self, piece: _Piece, answer: Windows) -> None:
        slide_id = piece.order.slide_id
        seen = self._seen[slide_id]
        seen.update(zip(piece.numbers, answer.seen, strict=True))
        if len(seen) == self._windows[slide_id]:
            everything = tuple(seen[number] for number in range(len(seen)))
            del self._seen[slide_id]
            self._waiting.appendleft(_Piece(replace(piece.order, seen=everything)))

    def _check_for_workers(self, alone_s: float) -> None:
        """Nobody works: end if all workers were refused, and otherwise tell the user from time to time."""
        with _scheduler():
            refused, there = self._crew.refused, self._crew.client.nthreads()
            names = {address: self._crew.name(address) for address in there}
        reasons = self._struck | refused
        if there and all(address in reasons for address in there):
            each = "; ".join(f"{names[address]}: {reasons[address]}" for address in there)
            raise UserError(f"No worker can process the slides. {each}. Finished slides are kept.")
        if alone_s > max(PATIENCE_S, 2 * self._told_at):  # jobs may wait for hours
            self._told_at = alone_s
            left = len({piece.order.slide_id for piece in self._waiting})
            self._crew.told(
                f"No worker takes slides now; slides that wait: {left}. Ctrl+C stops, and finished slides are kept."
            )
