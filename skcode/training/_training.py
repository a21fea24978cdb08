"""The training of all members of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import current_process
from threading import current_thread, main_thread
from typing import Any

import numpy as np

from skcode.inputs import InputMap
from skcode.model import Model, Target
from skcode.objective import Objective
from skcode.solvers import Solver, StochasticSolver
from skcode.training._callbacks import FitReport, MemberReport
from skcode.training._concurrency import at_once, one_after_another
from skcode.training._draw import Design, draw_members
from skcode.training._flow_targets import FlowTargets
from skcode.training._heads import snapshot_with_heads
from skcode.training._member import Member, Outcome, snapshot, train
from skcode.training._monitor import TrainingMonitor, Validation
from skcode.training._rows import Rows, hold_out
from skcode.training._stream import stream_epoch
from skcode.utils._blocks import OrderedMap
from skcode.utils._random import as_generator
from skcode.utils._typing import FloatArray

#: threads train a member each as long as there are fewer blocks of rows than this for each thread:
#: even where some threads then have no member, sharing so few blocks would keep them waiting
_FEW_BLOCKS = 2


@dataclass(frozen=True)
class Training:
    """What is minimised for each member, by which solver, and when it ends.

    Parameters
    ----------
    target : Target
        What is predicted, and its loss.
    choose_solver : callable
        ``choose_solver(n_normal_entries, n_rows)``: the solver of a member, from the size of its
        Gauss-Newton matrix and the rows.
    alpha, train_controls
        As in `skcode.objective.Objective`.
    max_iter, tol, n_iter_no_change
        As in `skcode.solvers.Solver.minimize`; None leaves the number to the solver.
    early_stopping, validation_fraction
        Whether to hold out rows and to stop by them, and which share of them.
    verbose : bool or int
        Whether to print a line for each iteration.
    name : str
        What those lines begin with.
    flow_targets : FlowTargets or None
        What the flow of each member is trained on; None for the target itself.
    """

    target: Target
    choose_solver: Callable[[int, int], Solver]
    alpha: float | None
    train_controls: bool
    max_iter: int | None
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    verbose: bool | int
    name: str
    flow_targets: FlowTargets | None = None

    def run(
        self,
        members: Sequence[Member],
        rows: Rows,
        validation: Rows | None,
        random_state: np.random.RandomState,
        report: FitReport,
        mapper: OrderedMap,
    ) -> Iterator[Outcome]:
        """Train the members in place."""
        speaker = self._speaker()
        jobs = [
            partial(
                self._train,
                member,
                rows,
                validation,
                k,
                name=speaker,
                # pooled members leave the source of the others as it is
                rng=as_generator(random_state)
                if member.share is None
                else np.random.default_rng(k),
                report=self._report_of_member(report, members[: k + 1], rows),
            )
            for k, member in enumerate(members)
        ]
        n_threads = mapper.n_threads
        few_blocks = len(rows.X) < _FEW_BLOCKS * n_threads * members[0].model.n_block
        several = len(members) > 1 and (len(members) >= n_threads or few_blocks)
        # callbacks hear of one member at a time
        if n_threads > 1 and several and not report.has_readers:
            return at_once(jobs, n_threads)
        return one_after_another(jobs, mapper)

    def _report_of_member(
        self, report: FitReport, members: Sequence[Member], rows: Rows
    ) -> MemberReport:
        """What callbacks hear of the last of these members."""
        if self.flow_targets is None:
            return report.member(snapshot, members, self.target)
        return report.member(snapshot_with_heads, members, rows, self.flow_targets)

    def _train(
        self,
        member: Member,
        rows: Rows,
        validation: Rows | None,
        number: int,
        mapper: OrderedMap,
        stopped: Callable[[], bool],
        *,
        name: str,
        rng: np.random.Generator,
        report: MemberReport,
    ) -> Outcome:
        """Train a member on the rows, or on those that are left by a validation part of its own."""
        held_out = self.early_stopping and validation is None
        target = self.target
        if self.flow_targets is not None and member.projection is not None:
            target = self.flow_targets.single
            if validation is not None:
                validation = self.flow_targets.projected(validation, member.projection)
            rows = self.flow_targets.of_member(rows, member.projection, number)
        elif self.flow_targets is not None:
            rows = self.flow_targets.of_pooled_member(rows, number)
        if held_out:
            rows, validation = hold_out(rows, target, self.validation_fraction, number)
        # a new one for each call of fit
        member.monitor = TrainingMonitor(
            self._validator(target, member.model, validation, mapper),
            self.early_stopping,
            self.tol,
            self.n_iter_no_change,
            self.verbose,
            _label(name, number),
        )
        return train(
            member,
            self._objective(target, member.model, rows, mapper),
            self.choose_solver(member.model.n_normal_entries, len(rows.X)),
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            rng=rng,
            report=report,
            stopped=stopped,
        )

    def run_batch(
        self,
        members: Sequence[Member],
        solver: StochasticSolver[Any],
        rows: Rows,
        random_state: np.random.RandomState,
        mapper: OrderedMap,
    ) -> None:
        """One pass of a stochastic solver over the rows of a batch, for all members in place."""
        speaker = self._speaker()
        for k, member in enumerate(members):
            objective = self._objective(self.target, member.model, rows, mapper)
            loss = stream_epoch(member, objective, solver, as_generator(random_state))
            member.monitor.verbose, member.monitor.name = self.verbose, _label(speaker, k)
            member.monitor(member.theta, loss)

    def begin_batches(
        self,
        design: Design,
        rows: Rows,
        input_map: InputMap,
        n_members: int,
        random_state: np.random.RandomState,
        before: Sequence[Member],
    ) -> list[Member]:
        """Members for a stream, from all of its rows so far.

        Those that were drawn `before`, from fewer rows, leave them their curves.
        """
        members = draw_members(design, rows, input_map, self.target, n_members, random_state)
        for member, earlier in zip(members, before, strict=False):
            member.monitor, member.n_iter = earlier.monitor.copy(), earlier.n_iter
        with OrderedMap(1) as serial:
            self.start_readouts(members, rows, serial)
        return members

    def start_readouts(self, members: Sequence[Member], rows: Rows, mapper: OrderedMap) -> None:
        """Give members whose readout has a closed form a first one, in place.

        It is the most probable one if weights are of size one and targets are all noise: few rows
        do not drive it far, and a stochastic solver would take hundreds of steps to get there.
        """
        for member in members:
            if not member.model.readout.affine:
                continue
            total = max(float(rows.weight.sum()), float(len(rows.X)))
            objective = Objective(member.model, self.target.loss, *rows[:3], 1 / total, mapper)
            before = objective.value(member.theta)
            if np.isfinite(before):
                theta = objective.newton_readout(member.theta)
                # a step from constants may overshoot where the loss is no square
                if objective.value(theta) < before:
                    member.move(theta)

    def _objective(self, target: Target, model: Model, rows: Rows, mapper: OrderedMap) -> Objective:
        return Objective(model, target.loss, *rows[:3], self.alpha, mapper, self.train_controls)

    @staticmethod
    def _validator(
        target: Target, model: Model, validation: Rows | None, mapper: OrderedMap
    ) -> Callable[[FloatArray], Validation] | None:
        """Loss and score on a validation part, as a function of the parameters."""
        if validation is None:
            return None
        X, y, weight, _ = validation

        def validate(theta: FloatArray) -> Validation:
            scores = model.scores(theta, X, mapper)
            if not np.isfinite(scores).all():
                return Validation(np.inf, np.nan)
            loss = float(np.average(target.loss.value(scores, y), weights=weight))
            return Validation(loss, target.score(scores, y, weight))

        return validate

    def _speaker(self) -> str:
        """Who prints: the estimator, and the process or thread that fits it, if others may too.

        Members may be trained in threads of their own: it is for the caller of those.
        """
        process, thread = current_process(), current_thread()
        if process.name != "MainProcess":
            return f"{self.name}, {process.name}"
        return self.name if thread is main_thread() else f"{self.name}, {thread.name}"


def _label(speaker: str, number: int) -> str:
    """What the printed lines of a member begin with."""
    return f"[{speaker}] member {number + 1}, "
