"""The course of a fit: members are trained one after another, or several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Event
from typing import Any

import numpy as np

from skcode.estimators._callbacks import FitTasks, MemberTask
from skcode.estimators._choices import choose_solver
from skcode.estimators._member import (
    Data,
    Member,
    Outcome,
    interrupted,
    snapshot,
    train,
    validator,
)
from skcode.estimators._monitor import TrainingMonitor
from skcode.estimators._preparation import hold_out
from skcode.estimators._tasks import Task
from skcode.objective import Model, Objective
from skcode.utils._blocks import OrderedMap
from skcode.utils._random import as_generator

#: blocks for each thread below which threads have a member each, though some threads have none
_FEW_BLOCKS = 2
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
        told = [interrupted(furthest.n_iter)] if interrupt else []
        yield furthest._replace(completed=False, warnings=told)


class CourseMixin:
    """Trains the members of an estimator."""

    solver: Any
    alpha: Any
    train_controls: Any
    max_iter: Any
    tol: Any
    early_stopping: Any
    validation_fraction: Any
    n_iter_no_change: Any
    verbose: Any

    def _outcomes(
        self,
        members: list[Member],
        task: Task,
        data: Data,
        given: Data | None,
        random_state: np.random.RandomState,
        tasks: FitTasks,
        mapper: OrderedMap,
    ) -> Iterator[Outcome]:
        """Train the members in place."""
        jobs = [
            partial(
                self._train,
                member,
                task,
                data,
                given,
                k,
                rng=as_generator(random_state),
                told=tasks.member(snapshot, members[: k + 1], task),
            )
            for k, member in enumerate(members)
        ]
        n_threads = mapper.n_threads
        few_blocks = len(data.X) < _FEW_BLOCKS * n_threads * members[0].model.n_block
        several = len(members) > 1 and (len(members) >= n_threads or few_blocks)
        # callbacks hear of one member at a time
        if n_threads > 1 and several and not tasks.are_told:
            return at_once(jobs, n_threads)
        return one_after_another(jobs, mapper)

    def _train(
        self,
        member: Member,
        task: Task,
        data: Data,
        given: Data | None,
        number: int,
        mapper: OrderedMap,
        stopped: Callable[[], bool],
        *,
        rng: np.random.Generator,
        told: MemberTask,
    ) -> Outcome:
        """Train a member on the data, or on those that are left by a validation part of its own."""
        part, validation = data, given
        if self.early_stopping and given is None:
            part, validation = hold_out(data, task, self.validation_fraction, number)
        self._watch(member, task, validation, mapper, number)
        return train(
            member,
            self._objective(member.model, task, part, mapper),
            choose_solver(self.solver, member.model.n_normal_entries, len(part.X)),
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            rng=rng,
            told=told,
            stopped=stopped,
        )

    def _watch(
        self, member: Member, task: Task, validation: Data | None, mapper: OrderedMap, number: int
    ) -> None:
        """A new monitor, for one call of fit."""
        member.monitor = TrainingMonitor(
            validator(member.model, task, validation, mapper),
            self.early_stopping,
            self.tol,
            self.n_iter_no_change,
            self.verbose,
            self._label(number),
        )

    def _label(self, number: int) -> str:
        """What the printed lines of a member begin with."""
        return f"[{type(self).__name__}] member {number + 1}, "

    def _objective(self, model: Model, task: Task, data: Data, mapper: OrderedMap) -> Objective:
        return Objective(model, task.loss, *data, self.alpha, mapper, self.train_controls)
