"""What watches a solver: curves, validation, the best iterate, early stopping, printing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from copy import copy
from typing import NamedTuple

import numpy as np

from skcode.utils._typing import FloatArray


class Validation(NamedTuple):
    """Loss and score of a parameter vector on the validation part."""

    loss: float
    score: float


class TrainingMonitor:
    """Keeps the curves and decides when to stop.

    Parameters
    ----------
    validate : callable or None
        ``validate(theta) -> Validation``; None for no validation part.
    early_stopping : bool
        Stop when the validation loss has not fallen by `tol` for `n_iter_no_change` iterations; the
        best iterate is then restored.
    tol, n_iter_no_change
        See above.
    verbose : bool or int
        Print a line an iteration.
    name : str
        What the lines begin with.
    """

    def __init__(
        self,
        validate: Callable[[FloatArray], Validation] | None = None,
        early_stopping: bool = False,
        tol: float = 0.0,
        n_iter_no_change: int = 1,
        verbose: bool | int = False,
        name: str = "",
    ):
        self.validate = validate
        self.early_stopping = early_stopping
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.verbose = verbose
        self.name = name
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.validation_scores: list[float] = []
        self.theta: FloatArray | None = None
        self.best_theta: FloatArray | None = None
        #: asked after each iteration whether to stop; set for the time of a training
        self.should_stop: Callable[[], bool] | None = None
        self._best_loss = np.inf
        self._stalled = 0
        self._started = time.monotonic()
        self._max_iter: int | None = None

    def start(self, max_iter: int) -> None:
        """Take the time, and the number of iterations to come."""
        self._started, self._max_iter = time.monotonic(), len(self.losses) + max_iter

    def __call__(
        self, theta: FloatArray, loss: float, parts: Mapping[str, float] | None = None
    ) -> bool:
        self.theta = np.array(theta)
        self.losses.append(float(loss))
        stop = self._watch_validation() if self.validate is not None else False
        if self.verbose:
            line = f"iteration {len(self.losses)}, loss {loss:.6g}"
            for name, value in (parts or {}).items():
                line += f", {name} {value:.6g}"
            if self.validate is not None:
                line += f", validation loss {self.validation_losses[-1]:.6g}"
                line += f", score {self.validation_scores[-1]:.4f}"
            self._print(line + self._time_left())
        return (self.should_stop is not None and self.should_stop()) or stop

    def say(self, line: str) -> None:
        """Print what a step says that is no iteration of the solver."""
        if self.verbose:
            self._print(line)

    def _print(self, line: str) -> None:
        # in one piece: what several jobs print must not run together
        sys.stdout.write(f"{self.name}{line}\n")
        sys.stdout.flush()

    def _time_left(self) -> str:
        if self._max_iter is None:
            return ""
        passed = time.monotonic() - self._started
        left = passed / len(self.losses) * (self._max_iter - len(self.losses))
        return f", {passed:.0f} s passed, at most {max(left, 0):.0f} s left"

    def _watch_validation(self) -> bool:
        assert self.validate is not None
        assert self.theta is not None
        loss, score = self.validate(self.theta)
        self.validation_losses.append(loss)
        self.validation_scores.append(score)
        self._stalled = 0 if loss < self._best_loss - self.tol else self._stalled + 1
        if loss < self._best_loss or self.best_theta is None:
            self._best_loss, self.best_theta = loss, self.theta
        return self.early_stopping and self._stalled >= self.n_iter_no_change

    def copy(self) -> TrainingMonitor:
        """The curves as they stand, without what watches."""
        other = copy(self)
        other.validate = other.should_stop = other._max_iter = None
        for name in ("losses", "validation_losses", "validation_scores"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def chosen(self, last: FloatArray) -> FloatArray:
        """The parameters to keep: the best on the validation part, else the last."""
        if self.early_stopping and self.best_theta is not None:
            return self.best_theta
        return last
