"""scikit-learn's callbacks, which are experimental since 1.9; older versions have none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for the mixin of scikit-learn 1.9: no callbacks can be set."""


class Context(Protocol):
    """What is asked of scikit-learn's `CallbackContext`: a task of a fit, which may have parts."""

    def subcontext(self, task_name: str, max_subtasks: int | None = 0) -> Context: ...
    def call_on_fit_task_begin(self, **data: Any) -> Any: ...
    def call_on_fit_task_end(self, **data: Any) -> bool: ...


class FitReport:
    """Reports to the callbacks of an estimator what its fit does: a fit has members.

    Without callbacks nothing is reported, and nothing is computed.

    Parameters
    ----------
    estimator : estimator or None
        The estimator that is being fitted; None for a training that nobody hears of.
    n_members : int
        Number of members.
    X, y, sample_weight : array-like
        The training data, as `fit` got them.
    """

    def __init__(
        self,
        estimator: BaseEstimator | None,
        n_members: int,
        X: ArrayLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ):
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._context: Context | None = None
        if estimator is not None and hasattr(estimator, "_skl_callbacks"):
            context: Context = estimator._init_callback_context(max_subtasks=n_members)
            self._context = context
            context.call_on_fit_task_begin(**self._data)

    @property
    def has_readers(self) -> bool:
        """Whether there are callbacks."""
        return self._context is not None

    def member(self, snapshot: Callable[..., dict[str, Any]], *args: Any) -> MemberReport:
        """The report of the next member.

        ``snapshot(*args)`` gives the attributes with which a copy of the estimator predicts as if
        the fit had stopped now.
        """
        state = {"reconstruction_attributes": partial(snapshot, *args)}
        return MemberReport(self._context, {**self._data, **state})

    def end(self) -> None:
        """Report that the estimator is fitted."""
        if self._context is not None:
            self._context.call_on_fit_task_end(**self._data, reconstruction_attributes={})


class MemberReport:
    """Reports what the training of a member does: it has iterations."""

    def __init__(self, fit: Context | None, data: dict[str, Any]):
        self._fit = fit
        self._data = data
        self._context: Context | None = None
        self._iteration: Context | None = None
        self._left = 0

    def begin(self, most_iterations: int) -> None:
        """Report that the member begins, with its first iteration."""
        if self._fit is not None:
            self._context = self._fit.subcontext("member", max_subtasks=most_iterations)
            self._context.call_on_fit_task_begin(**self._data)
            self._left = most_iterations
            self._next()

    def _next(self) -> None:
        self._iteration = None
        if self._context is not None and self._left > 0:
            self._iteration = self._context.subcontext("iteration")
            self._iteration.call_on_fit_task_begin(**self._data)
            self._left -= 1

    def iterated(self) -> bool:
        """Report that an iteration ended and the next begins; True if a callback says stop."""
        if self._iteration is None:
            return False
        stop: bool = self._iteration.call_on_fit_task_end(**self._data)
        self._next()
        return stop

    def end(self) -> bool:
        """Report that the member is trained; True if a callback wants no more members."""
        if self._context is None:
            return False
        if self._iteration is not None:
            # begun in advance, and never run
            self._iteration.call_on_fit_task_end(estimator=self._data["estimator"])
        stop: bool = self._context.call_on_fit_task_end(**self._data)
        return stop
