"""Which worker gets which slide: studies on imagined workers, whose time is only counted."""

from __future__ import annotations

import heapq
import itertools
import random
from types import SimpleNamespace

import pytest

distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")

from follicle_stager.cluster.dispatch import Dispatch  # noqa: E402
from follicle_stager.errors import UserError  # noqa: E402
from follicle_stager.job import Outcome  # noqa: E402

SLIDE_S, FAILURE_S = 5.0, 0.1


class Future:
    status = "finished"

    def __init__(self, outcome):
        self.outcome, self.ended = outcome, False

    def done(self):
        return self.ended

    def result(self, timeout):
        if self.outcome is None:  # its worker ended after it was finished
            self.status = "lost"
            raise TimeoutError
        return self.outcome


class Workers:
    """Stands for the crew and the Dask client."""

    topic, status = "progress", "running"

    def __init__(self, count, fails):
        self.client, self.names, self.fails = self, [f"w{n}" for n in range(count)], fails
        self.refused, self.said, self.taken, self.paused = {}, [], [], set()
        self._now, self._ends, self._numbers = 0.0, [], itertools.count()

    def fit(self, right):
        return self.names

    def info(self):
        return dict.fromkeys(self.names)

    def name(self, address):
        return address

    def nthreads(self):
        return dict.fromkeys(self.names, 1)

    def told(self, said):
        self.said.append(said)

    def monotonic(self):
        return self._now

    def sleep(self, seconds):
        self._now += seconds

    def lose(self, *names):
        """These workers are gone, with what they do."""
        self.names = [name for name in self.names if name not in names]
        self._ends = [end for end in self._ends if end[2].worker not in names]

    def cancel(self, futures):
        self._ends = [end for end in self._ends if end[2] not in futures]

    def processing(self):
        return {name: [future.key for *_, future in self._ends if future.worker == name] for name in self.names}

    def submit(self, do, order, *rest, workers, **how):
        fails = self.fails(workers[0], order.slide_id)
        future = Future(Outcome(order.slide_id, "failed" if fails else "done", "no such file" if fails else ""))
        future.key, future.worker = how["key"], workers[0]
        self.taken.append((workers[0], order.slide_id))
        if workers[0] in self.paused:
            return future
        heapq.heappush(self._ends, (self._now + (FAILURE_S if fails else SLIDE_S), next(self._numbers), future))
        return future

    def wait(self, futures, **how):
        if not self._ends:
            self.sleep(2.0)
            raise TimeoutError
        self._now, _, future = heapq.heappop(self._ends)
        future.ended = True


def outcomes_of(workers, slides, monkeypatch):
    monkeypatch.setattr(distributed, "wait", workers.wait)
    monkeypatch.setattr("follicle_stager.cluster.dispatch.time", workers)
    orders = [SimpleNamespace(slide_id=f"s{n}", path="s") for n in range(slides)]
    outcomes = []
    Dispatch(workers, orders, "right", outcomes.append, split_above=24).run()
    assert sorted(o.slide_id for o in outcomes) == sorted(o.slide_id for o in orders), "each slide ends once"
    return outcomes


@pytest.mark.parametrize("lost", [1, 2, 4, 7])
def test_workers_without_the_shared_folder_cost_no_slide(lost, monkeypatch):
    """All slides fail there at once: they would take most of them, and fail the second tries of each other."""
    workers = Workers(8, lambda worker, slide: int(worker[1:]) < lost)
    assert {o.state for o in outcomes_of(workers, 200, monkeypatch)} == {"done"}
    assert len(workers.said) == lost, "each is named"
    assert all(sum(worker == f"w{n}" for worker, _ in workers.taken) == 3 for n in range(lost))


def test_broken_slides_fail_and_no_worker_is_blamed(monkeypatch):
    workers = Workers(4, lambda worker, slide: slide.endswith("7"))
    failed = {o.slide_id for o in outcomes_of(workers, 100, monkeypatch) if o.state == "failed"}
    assert failed == {f"s{n}" for n in range(7, 100, 10)}
    assert not workers.said


def test_errors_now_and_then_stop_no_study(monkeypatch):
    """Three errors in a row are rare, if one slide of twenty fails for no reason."""
    chance = random.Random(0)
    workers = Workers(4, lambda worker, slide: chance.random() < 0.05)
    failed = [o for o in outcomes_of(workers, 500, monkeypatch) if o.state == "failed"]
    assert len(failed) < 6, "both tries failed: 0.25 % of the slides"
    assert len(workers.said) <= 1


def test_no_worker_that_is_left_ends_the_run(monkeypatch):
    """The reasons are said, instead of waiting for workers that are there."""
    workers = Workers(3, lambda worker, slide: worker != "w2")

    def told(said):
        workers.said.append(said)
        if len(workers.said) == 2:
            workers.names.remove("w2")

    monkeypatch.setattr(workers, "told", told)
    with pytest.raises(UserError, match=r"No worker can process the slides\. w0: 3 slides in a row failed there"):
        outcomes_of(workers, 50, monkeypatch)


def test_an_error_of_the_caller_is_not_taken_for_one_of_the_scheduler(monkeypatch):
    workers = Workers(2, lambda worker, slide: False)
    monkeypatch.setattr(distributed, "wait", workers.wait)

    def broken_pipe(outcome):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Dispatch(workers, [SimpleNamespace(slide_id="s", path="s")], "right", broken_pipe, split_above=24).run()


def test_all_workers_that_end_together_cost_no_slide(monkeypatch):
    """Jobs of a batch system reach their time limit together; new ones come later."""
    workers = Workers(4, lambda worker, slide: False)
    real, generation = workers.fit, itertools.count(1)

    def fit(right):
        if not workers.names:
            number = next(generation)
            workers.names = [f"w{n}-{number}" for n in range(4)]
        elif len(workers.taken) in (8, 30):
            workers.taken.append(("", ""))
            workers.lose(*workers.names)
        return real(right)

    monkeypatch.setattr(workers, "fit", fit)
    assert {o.state for o in outcomes_of(workers, 40, monkeypatch)} == {"done"}
    assert next(generation) == 3, "two times"


def test_a_slide_that_ends_every_worker_fails(monkeypatch):
    workers, fatal = Workers(8, lambda worker, slide: False), "s3"
    submit = workers.submit

    def take(do, order, *rest, **how):
        future = submit(do, order, *rest, **how)
        if order.slide_id == fatal:
            workers.lose(future.worker)
        return future

    monkeypatch.setattr(workers, "submit", take)
    (failed,) = [o for o in outcomes_of(workers, 20, monkeypatch) if o.state == "failed"]
    assert failed.slide_id == fatal
    assert failed.message.startswith("s: 3 workers ended while they processed it. Probably their memory ran out")
    assert len(workers.names) == 5


def test_a_worker_that_pauses_fails_no_slide(monkeypatch):
    """Dask gives it no work, although it is there; what was just submitted to it is given to others."""
    workers = Workers(2, lambda worker, slide: False)
    real = workers.fit

    def fit(right):
        workers.paused = {"w0"} if 5 < len(workers.taken) < 15 else set()
        return real(right)

    monkeypatch.setattr(workers, "fit", fit)
    assert {o.state for o in outcomes_of(workers, 20, monkeypatch)} == {"done"}
    assert len(workers.taken) > 20


def test_an_answer_that_is_lost_with_its_worker_is_made_again(monkeypatch):
    workers = Workers(2, lambda worker, slide: False)
    submit = workers.submit

    def take(do, order, *rest, **how):
        future = submit(do, order, *rest, **how)
        if len(workers.taken) == 3:
            future.outcome = None
        return future

    monkeypatch.setattr(workers, "submit", take)
    assert {o.state for o in outcomes_of(workers, 10, monkeypatch)} == {"done"}
    assert len(workers.taken) == 11


def test_waiting_for_workers_is_told_less_and_less_often(monkeypatch):
    workers = Workers(0, lambda worker, slide: False)
    real = workers.fit

    def fit(right):
        if workers.monotonic() > 8 * 3600:
            workers.names = ["w0"]
        return real(right)

    monkeypatch.setattr(workers, "fit", fit)
    assert {o.state for o in outcomes_of(workers, 3, monkeypatch)} == {"done"}
    assert all(said.startswith("No worker takes slides now; slides that wait: 3.") for said in workers.said)
    assert 6 < len(workers.said) < 12, "in eight hours"
