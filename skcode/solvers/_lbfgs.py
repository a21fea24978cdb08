"""Limited-memory BFGS."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from skcode.solvers._base import Monitor, Solver, SolverResult
from skcode.solvers._objectives import SmoothObjective, members_of
from skcode.utils._sklearn import Interval
from skcode.utils._typing import FloatArray


class LBFGS(Solver):
    """L-BFGS of scipy on the full objective.

    It ends when no entry of the gradient exceeds `tol`, or when `n_iter_no_change` iterations have
    together lowered the objective by less than `tol`.

    Parameters
    ----------
    memory : int
        Number of correction pairs.
    max_fun : int or None
        Largest number of objective evaluations; None for no bound beside `max_iter`.

    References
    ----------
    .. [1] C. Zhu, R. H. Byrd, P. Lu, J. Nocedal, "L-BFGS-B: Fortran subroutines for large-scale
       bound-constrained optimization", ACM Trans. Math. Softw. 23(4), 1997.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skcode import ControlledODEClassifier
    >>> from skcode.solvers import LBFGS
    >>> model = ControlledODEClassifier(solver=LBFGS(memory=20), n_members=1, random_state=0)
    >>> bool(model.fit(*load_iris(return_X_y=True)).n_iter_ > 1)
    True
    """

    needs = members_of(SmoothObjective)
    default_max_iter = 300

    _parameter_constraints = {
        "memory": [Interval(Integral, 1, None, closed="left")],
        "max_fun": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(self, memory: int = 10, max_fun: int | None = None):
        self.memory = memory
        self.max_fun = max_fun

    def minimize(
        self,
        objective: SmoothObjective,
        theta: FloatArray,
        *,
        max_iter: int,
        tol: float,
        n_iter_no_change: int,
        rng: np.random.Generator,
        monitor: Monitor,
    ) -> SolverResult:
        self.check_objective(objective)
        scale, _ = objective.value_and_grad(theta)
        wall = 10 * max(abs(scale), 1.0)

        lowest, best = np.inf, theta

        def fun(theta: FloatArray) -> tuple[float, FloatArray]:
            nonlocal lowest, best
            value, grad = objective.value_and_grad(theta)
            if not np.isfinite(value):
                # an exploding flow is a wall, from which the line search steps back
                return wall, grad
            if value < lowest:
                lowest, best = value, theta.copy()
            return value, grad

        values, stopped = [float(scale)], ""

        def callback(intermediate_result: OptimizeResult) -> None:
            nonlocal stopped
            values.append(float(intermediate_result.fun))
            if monitor(intermediate_result.x, values[-1]):
                stopped = "stopped by the monitor"
            elif (
                len(values) > n_iter_no_change and values[-1] > values[-1 - n_iter_no_change] - tol
            ):
                stopped = "the loss stalled"
            if stopped:
                raise StopIteration

        result = minimize(
            fun,
            theta,
            jac=True,
            method="L-BFGS-B",
            callback=callback,
            options={
                "maxiter": max_iter,
                "maxfun": self.max_fun if self.max_fun is not None else 20 * max_iter + 100,
                "maxcor": self.memory,
                "gtol": tol,
                "ftol": 64 * np.finfo(float).eps,
            },
        )
        converged = bool(stopped) or result.status != 1
        # a line search that ran into a wall may end on it
        last = result.x if np.isfinite(result.x).all() and result.fun < wall else best
        return SolverResult(last, int(result.nit), converged, stopped or str(result.message))
