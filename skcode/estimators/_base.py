"""What the estimators share: parameters, preparation of data, fitting, prediction of scores."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skcode.estimators._callbacks import CallbackSupportMixin, FitTasks
from skcode.estimators._choices import (
    FAMILIES,
    check_nested,
    choose_depth,
    choose_dimension,
    choose_family,
    choose_members,
)
from skcode.estimators._course import CourseMixin
from skcode.estimators._drawn import check_unchanged, drawn_from
from skcode.estimators._far import check_reach
from skcode.estimators._member import (
    Data,
    Member,
    initial_theta,
    moved,
    published,
)
from skcode.estimators._monitor import TrainingMonitor
from skcode.estimators._preparation import canonical, positive_rows
from skcode.estimators._state import TravelMixin, unchanged_by_failure
from skcode.estimators._tasks import Task
from skcode.fields import FieldFamily
from skcode.flow import TABLEAUS, get_tableau, trajectory
from skcode.inputs import SCALINGS, InputMap
from skcode.objective import Model, ensemble_scores
from skcode.readouts import READOUTS
from skcode.solvers import SOLVERS, Solver
from skcode.utils._blocks import OrderedMap
from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._random import as_generator
from skcode.utils._sklearn import Interval, StrOptions, fit_context
from skcode.utils._typing import Array, FloatArray

#: rows from which families that are placed by data take their places
_REFERENCE_ROWS = 1024

#: types of X that are taken as they are; bytes, of images, are computed with in float32
INPUT_TYPES = [np.float64, np.float32, np.uint8]


class ControlledODEBase(
    CourseMixin, DocLinkMixin, CallbackSupportMixin, TravelMixin, BaseEstimator, ABC
):
    """Base of the estimators; not for direct use."""

    _members: list[Member]
    #: its kind is the estimator's: RegressionTask, ClassificationTask or MultilabelTask
    _task: Any
    _parameter_constraints: dict[str, list[Any]] = {
        "vector_fields": [StrOptions(set(FAMILIES)), FieldFamily, None],
        "n_members": [Interval(Integral, 1, None, closed="left"), None],
        "n_fields": [Interval(Integral, 1, None, closed="left")],
        "n_intervals": [Interval(Integral, 1, None, closed="left"), None],
        "n_states": [Interval(Integral, 1, None, closed="left"), None],
        "integrator": [StrOptions(set(TABLEAUS))],
        "readout": [StrOptions(set(READOUTS))],
        "solver": [StrOptions({"auto", *SOLVERS}), Solver],
        "alpha": [Interval(Real, 0, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "scaling": [StrOptions({name for name in SCALINGS if name}), None],
        "train_controls": ["boolean"],
        "warm_start": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        vector_fields: str | FieldFamily | None,
        n_fields: int,
        n_intervals: int | None,
        n_states: int | None,
        integrator: str,
        readout: str,
        solver: str | Solver,
        alpha: float | None,
        max_iter: int | None,
        tol: float,
        scaling: str | None,
        train_controls: bool,
        warm_start: bool,
        early_stopping: bool,
        validation_fraction: float,
        n_iter_no_change: int,
        n_jobs: int | None,
        random_state: int | np.random.RandomState | None,
        verbose: bool | int,
    ):
        self.vector_fields = vector_fields
        self.n_fields = n_fields
        self.n_intervals = n_intervals
        self.n_states = n_states
        self.integrator = integrator
        self.readout = readout
        self.solver = solver
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.scaling = scaling
        self.train_controls = train_controls
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the estimator, of its family of fields or of its solver.

        Parameters
        ----------
        **params : dict
            Values by name; ``vector_fields__scale`` and ``solver__momentum`` are parameters of
            what those are.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        check_nested(self, params)
        super().set_params(**params)
        return self

    @abstractmethod
    def _check_Xy(self, X: ArrayLike, y: ArrayLike, reset: bool) -> tuple[Array, Array]:
        """Validate X and y together."""

    @abstractmethod
    def _learn_task(self, y: Array, weight: FloatArray) -> Task:
        """What is predicted, from the training targets."""

    def _class_factors(self, task: Any, targets: Array, weight: FloatArray) -> FloatArray | None:
        """Factors on the sample weights; None unless classes are weighted."""
        return None

    # -- fit -------------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit controls and readout.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,) or None
            Weights; an integer weight does what repeating the row does. With a number for `alpha`
            only their ratios count. With ``alpha=None`` Gauss-Newton takes their sum for the number
            of observations, at least that of the distinct rows: larger weights are more evidence,
            and a sum below that number is raised to it.
        X_val, y_val, sample_weight_val : array-likes or None
            A validation set of your own, in place of a part of the training data. Its curve is
            recorded; with ``early_stopping=True`` it stops the training.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            If data, weights and parameters do not fit each other, or every flow explodes.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together.")
        if X_val is None and sample_weight_val is not None:
            raise ValueError("sample_weight_val needs X_val and y_val.")
        # features drawn without targets have no task to go on with
        fresh = not (self.warm_start and getattr(self, "_task", None))
        if not fresh:
            check_unchanged(self)
        with unchanged_by_failure(self), OrderedMap(self.n_jobs) as mapper:
            data, task = self._prepare(X, y, sample_weight, None if fresh else self._task)
            given = None
            if X_val is not None and y_val is not None:
                X_val, y_val = self._check_Xy(X_val, y_val, reset=False)
                X_val, y_val, weight = positive_rows(X_val, y_val, sample_weight_val)
                given = Data(X_val, task.encode(y_val), weight)
            random_state = check_random_state(self.random_state)
            if fresh:
                members = self._draw_members(data, task, random_state)
            else:
                members = [member.copy() for member in self._members]
            tasks = FitTasks(self, len(members), X, y, sample_weight)
            for outcome in self._outcomes(members, task, data, given, random_state, tasks, mapper):
                for message, category in outcome.warnings:
                    warnings.warn(message, category, stacklevel=3)
            if fresh and not outcome.completed:
                members = moved(members)
        self._adopt(task, members, outcome.solver)
        tasks.end()
        return self

    def _prepare(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        task: Task | None,
        reset: bool | None = None,
    ) -> tuple[Data, Task]:
        """Checked, canonical, encoded rows and the task, which is learnt unless it is given."""
        with np.errstate(all="ignore"):
            X, y = self._check_Xy(X, y, reset=task is None if reset is None else reset)
        X, y, weight = positive_rows(X, y, sample_weight)
        # before anything is learnt, so that nothing depends on the order of rows
        X, y, weight = canonical(X, y, weight)
        task = self._learn_task(y, weight) if task is None else task
        targets = task.encode(y)
        factors = self._class_factors(task, targets, weight)
        return Data(X, targets, weight if factors is None else weight * factors), task

    def _n_members(self, n_rows: int) -> int:
        return choose_members(self.n_members, n_rows)

    def _draw_members(
        self, data: Data, task: Task, random_state: np.random.RandomState
    ) -> list[Member]:
        m = choose_dimension(self.n_states, data.X.shape[1], self.vector_fields)
        # one map for all, so that predictions scale their rows once
        input_map = InputMap.fit(data.X, data.weight, m, self.scaling)
        return [
            self._draw(data, task, input_map, as_generator(random_state))
            for _ in range(self._n_members(len(data.X)))
        ]

    def _draw(
        self, data: Data, task: Task, input_map: InputMap, rng: np.random.Generator
    ) -> Member:
        """A model with fields of its own, and its start."""
        p, m = data.X.shape[1], input_map.n_states
        rows = data.X[np.sort(rng.integers(0, len(data.X), _REFERENCE_ROWS))]
        reference = input_map(rows)[:, :p].astype(np.float64)
        family = choose_family(self.vector_fields)
        fields = family.draw(m, self.n_fields, rng, n_inputs=p, reference=reference)
        readout = READOUTS[self.readout](m, task.n_outputs, p, fields.observation)
        model = Model(
            input_map,
            fields.astype(input_map.dtype),
            get_tableau(self.integrator),
            choose_depth(self.n_intervals, len(data.X)),
            readout,
        )
        return Member(model, initial_theta(model, task.loss, data, rng), TrainingMonitor())

    def _adopt(
        self,
        task: Task | None,
        members: list[Member],
        solver: Solver | None,
        stream: np.random.RandomState | None = None,
    ) -> None:
        """Become the fitted model, at the end alone: a fit that fails leaves no trace."""
        stale = published(self._members) if hasattr(self, "_members") else {}
        for name in (*stale, "solver_"):
            self.__dict__.pop(name, None)
        self._task, self._members, self._stream = task, members, stream
        self._drawn_from = drawn_from(self)
        for name, value in published(members).items():
            setattr(self, name, value)
        if solver is not None:
            self.solver_ = solver

    # -- prediction ------------------------------------------------------------------------------

    def _check_X(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        with np.errstate(all="ignore"):
            checked: Array = validate_data(self, X, reset=False, dtype=INPUT_TYPES)
        return checked

    def _scores(self, X: Array) -> FloatArray:
        """Scores (E, n, K) of the members; an error or a warning where a flow explodes."""
        pairs = [(member.model, member.theta) for member in self._members]
        scores = ensemble_scores(pairs, X, self.n_jobs)
        return check_reach(scores, self._task.reach, X, pairs[0][0].input_map)

    def trajectory(self, X: ArrayLike, member: int = 0) -> FloatArray:
        """States at the interval ends.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.
        member : int
            Which member of an ensemble.

        Returns
        -------
        ndarray of shape (n_intervals + 1, n_samples, n_states)
            X_t at t = 0, 1/M, ..., 1.

        Raises
        ------
        ValueError
            If there is no such member, or the flow explodes for a sample.
        """
        X = self._check_X(X)
        if not isinstance(member, Integral) or member not in range(len(self._members)):
            raise ValueError(f"member={member!r} must lie in 0..{len(self._members) - 1}.")
        model, theta = self._members[member].model, self._members[member].theta
        with OrderedMap(self.n_jobs):
            x, controls = model.input_map(X), model.split(theta)[0]
            states = trajectory(model.fields, x, controls, model.tableau)
        check_reach(states[-1], np.inf, X, model.input_map)
        return states

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "controls_")
