"""Members are trained one after another, or several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

from skcode.training._member import Outcome, interrupted
from skcode.utils._blocks import OrderedMap

#: seconds after which an interrupt is looked for, where it does not end a wait by itself
_PATIENCE = 0.1
#: trains a member, whose rows the mapper maps, until it is done or the function says stop
Job = Callable[[OrderedMap, Callable[[], bool]], Outcome]


def one_after_another(jobs: Sequence[Job], mapper: OrderedMap) -> Iterator[Outcome]:
    """Outcomes of the members, up to the first that is not completed."""
    for job in jobs:
        outcome = job(mapper, lambda: False)
        yield outcome
        if not outcome.completed:
            return


def at_once(jobs: Sequence[Job], n_threads: int) -> Iterator[Outcome]:
    """Outcomes of the members, each of which has a thread to itself.

    Threads that train whole members wait for each other less than threads that share the blocks of
    one. An interrupt, or a member that is not completed, stops the others after their iteration.
    """
    ready, stop = Event(), Event()

    def run(job: Job) -> Outcome:
        # an interrupt while others are handed out would lose the first ones
        ready.wait()
        with OrderedMap(1) as serial:
            return job(serial, stop.is_set)

    interrupt = False
    with ThreadPoolExecutor(min(n_threads, len(jobs))) as pool:
        futures: list[Future[Outcome]] = []
        try:
            futures.extend(pool.submit(run, job) for job in jobs)
            ready.set()
            for future in futures:
                while not future.done():
                    wait([future], _PATIENCE)
                if not future.result().completed:
                    break
        except KeyboardInterrupt:
            interrupt = True
        finally:
            stop.set()
            ready.set()
            for future in futures:
                future.cancel()
    outcomes = [future.result() for future in futures if not future.cancelled()]
    if not outcomes:
        raise KeyboardInterrupt
    yield from outcomes
    if interrupt or not all(outcome.completed for outcome in outcomes):
        furthest = max(outcomes, key=lambda outcome: outcome.n_iter)
        message = interrupted(furthest.n_iter) if interrupt else furthest.interrupt
        yield furthest._replace(completed=False, warnings=[], interrupt=message)
