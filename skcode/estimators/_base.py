"""What the estimators share: parameters, and the steps of a fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skcode.columns import ColumnEncoder
from skcode.estimators._defaults import (
    FAMILIES,
    check_nested,
    choose_coordinates,
    choose_depth,
    choose_dimension,
    choose_family,
    choose_scaling,
    choose_solver,
    may_keep_columns,
)
from skcode.estimators._serialization import PlainStateMixin
from skcode.estimators._tables import check_table
from skcode.estimators._warm_start import check_unchanged, drawn_from
from skcode.fields import FieldFamily
from skcode.flow import TABLEAUS, get_tableau
from skcode.gaussian_process import GaussianProcessReadout
from skcode.inputs import SCALINGS, InputMap
from skcode.model import Ensemble, Target
from skcode.readouts import Readout
from skcode.solvers import SOLVERS, Solver
from skcode.training import (
    CallbackSupportMixin,
    Design,
    Member,
    RawRows,
    Rows,
    Stream,
    Training,
    canonical,
    counts_of,
    fitted_state,
    outputs_of,
    positive_rows,
    relative_to_rows,
)
from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._sklearn import Interval, StrOptions
from skcode.utils._typing import Array, FloatArray

#: types of X that are taken as they are; bytes, of images, are computed with in float32
INPUT_TYPES = [np.float64, np.float32, np.uint8]


class ControlledODEBase(DocLinkMixin, CallbackSupportMixin, PlainStateMixin, BaseEstimator, ABC):
    """Base of the estimators; not for direct use.

    It has the parameters that all share, and the steps of a fit: prepare rows, draw members, train
    them, adopt them. The faces put them together.
    """

    #: what predicts; its public face is the one way into the fitted model
    ensemble_: Ensemble
    #: what becomes of the columns of X
    encoder_: ColumnEncoder
    #: number of columns of X
    n_features_in_: int
    #: members and their courses, from which a training goes on
    _members: list[Member]
    #: parameters that the members were drawn from
    _drawn_from: dict[str, Any]
    _parameter_constraints: dict[str, list[Any]] = {
        "vector_fields": [StrOptions(set(FAMILIES)), FieldFamily, None],
        "n_fields": [Interval(Integral, 1, None, closed="left")],
        "n_intervals": [Interval(Integral, 1, None, closed="left"), None],
        "n_states": [Interval(Integral, 1, None, closed="left"), None],
        "integrator": [StrOptions(set(TABLEAUS))],
        "solver": [StrOptions({"auto", *SOLVERS}), Solver],
        "alpha": [Interval(Real, 0, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "scaling": [StrOptions({"auto", *(name for name in SCALINGS if name)}), None],
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
        readout: str | GaussianProcessReadout,
        solver: str | Solver,
        alpha: float | None,
        max_iter: int | None,
        tol: float,
        categorical_features: ArrayLike | str | None,
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
        self.categorical_features = categorical_features
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

    # -- the steps of a fit ------------------------------------------------------------------------

    @abstractmethod
    def _check_Xy(self, X: ArrayLike, y: ArrayLike, reset: bool) -> tuple[Array, Array]:
        """Validate X and y together."""

    @abstractmethod
    def _learn_target(self, y: Array, weight: FloatArray) -> Target:
        """What is predicted, from the training targets."""

    def _class_factors(
        self, target: Target, targets: Array, weight: FloatArray
    ) -> FloatArray | None:
        """Factors on the sample weights; None unless classes are weighted."""
        return None

    @property
    def _goes_on(self) -> bool:
        """Whether a fit continues the last one, which features without targets cannot be."""
        ensemble = getattr(self, "ensemble_", None)
        return bool(self.warm_start) and ensemble is not None and ensemble.target is not None

    def _check_unchanged(self) -> None:
        check_unchanged(self, self._drawn_from)

    def _prepare(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        target: Target | None,
        reset: bool,
    ) -> tuple[Array, Rows, Target]:
        """Checked, canonical rows, the same encoded, and the target, learnt unless it is given."""
        rows = self._check_rows(X, y, sample_weight, reset)
        target = self._learn_target(rows.y, rows.weight) if target is None else target
        if reset:
            rows = self._learn_columns(rows, target)
        return rows.X, self._encoded(rows, target), target

    def _check_rows(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, reset: bool
    ) -> RawRows:
        """Checked, canonical rows: before anything is learnt, so that their order has no effect."""
        with np.errstate(all="ignore"):
            X, y = self._check_Xy(X, y, reset=reset)
        rows = positive_rows(X, y, sample_weight)
        if reset:
            self.encoder_, X = self.encoder_.with_levels_of(rows.X)
            rows = rows._replace(X=X)
        return canonical(rows)

    def _learn_columns(self, rows: RawRows, target: Target) -> RawRows:
        """Learn what becomes of the columns; the rows, in the order that their content has."""
        targets = target.encode(rows.y)
        self._learn_encoder(rows.X, target, targets, self._weighted(target, targets, rows.weight))
        content = self.encoder_.content(rows.X)
        return rows if content is None else canonical(rows, content)

    def _encoded(self, rows: RawRows, target: Target, *, later: bool = False) -> Rows:
        """Rows as the model and the loss of the target want them.

        Rows that come `later` were not there when statistics of levels were learnt.
        """
        targets = target.encode(rows.y)
        counts = counts_of(rows, target.strata(targets))
        weight = self._weighted(target, targets, rows.weight)
        X = self.encoder_.encode(rows.X) if later else self._encode(rows.X, target, targets, weight)
        return Rows(X, targets, weight, counts)

    def _weighted(self, target: Target, targets: Array, weight: FloatArray) -> FloatArray:
        """Sample weights times the factors of the classes."""
        factors = self._class_factors(target, targets, weight)
        return weight if factors is None else weight * factors

    def _learn_encoder(
        self, X: Array, target: Target | None, targets: Array, weight: FloatArray
    ) -> None:
        """Learn what becomes of the columns, from training rows in canonical order."""
        outputs = self._outputs(target, targets)
        self.encoder_ = self.encoder_.learn(X, outputs, relative_to_rows(weight))

    def _encode(self, X: Array, target: Target | None, targets: Array, weight: FloatArray) -> Array:
        """Coordinates of training rows, none of which has seen its own output."""
        outputs = self._outputs(target, targets)
        return self.encoder_.encode_training(X, outputs, relative_to_rows(weight))

    def _outputs(self, target: Target | None, targets: Array) -> FloatArray | None:
        """Targets as numbers, which statistics of levels are of; None where there are no levels."""
        if target is None or self.encoder_.takes_numbers:
            return None
        return outputs_of(target, targets)

    def _learn_inputs(
        self, rows: Rows, target: Target | None, readout: str | GaussianProcessReadout
    ) -> InputMap:
        """The map from inputs to initial states."""
        n_features = rows.X.shape[1]
        n_coordinates = choose_coordinates(self.n_states, n_features, self.vector_fields)
        outputs = None
        if target is not None and n_coordinates is not None:
            # what says which of very many columns are kept as they are
            outputs = outputs_of(target, rows.y)

        def with_coordinates(n_coordinates: int | None) -> InputMap:
            projected = n_coordinates is not None
            n_states = self._dimension(n_features if n_coordinates is None else n_coordinates)
            scaling = choose_scaling(self.scaling, self.vector_fields, readout, target, projected)
            return InputMap.fit(rows.X, rows.weight, n_states, scaling, n_coordinates, outputs)

        fitted = with_coordinates(n_coordinates)
        if outputs is None or not may_keep_columns(n_features):
            return fitted
        every = fitted.all_columns_tell(rows.X, outputs, rows.weight)
        return with_coordinates(None) if every else fitted

    def _dimension(self, n_inputs: int) -> int:
        """The dimension of the state for so many coordinates that carry inputs."""
        return choose_dimension(self.n_states, n_inputs, self.vector_fields)

    def _design(self, readout: type[Readout]) -> Design:
        """What the parameters say of how members are made."""
        return Design(
            family=choose_family(self.vector_fields),
            n_fields=self.n_fields,
            choose_depth=partial(choose_depth, self.n_intervals),
            tableau=get_tableau(self.integrator),
            readout=readout,
        )

    def _copies(self) -> list[Member]:
        """The members of the last fit, to be trained further; it stays what it is if that fails."""
        return [member.copy() for member in self._members if not member.at_rest]

    def _training(self, target: Target) -> Training:
        """What the parameters say of how members are trained."""
        return Training(
            target=target,
            choose_solver=partial(choose_solver, self.solver),
            alpha=self.alpha,
            train_controls=self.train_controls,
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            early_stopping=self.early_stopping,
            validation_fraction=self.validation_fraction,
            verbose=self.verbose,
            name=type(self).__name__,
        )

    def _interrupt(self, message: str) -> None:
        """Pass an interrupt on, now that the model is in place; nothing without a message.

        Whoever called `fit` must hear of it: a search that took the half-trained model for a whole
        one would score it, and go on. In a notebook the estimator predicts all the same.
        """
        if message:
            raise KeyboardInterrupt(message)

    def _adopt(
        self,
        members: list[Member],
        target: Target | None,
        solver: Solver | None,
        stream: Stream | None = None,
        readout: str | GaussianProcessReadout | None = None,
    ) -> None:
        """Become the fitted model, at the end alone: a fit that fails leaves no trace."""
        stale = fitted_state(self._members, None) if hasattr(self, "_members") else {}
        for name in (*stale, "solver_", "readout_"):
            self.__dict__.pop(name, None)
        self._stream = stream
        self._drawn_from = drawn_from(self)
        for name, value in fitted_state(members, target).items():
            setattr(self, name, value)
        if solver is not None:
            self.solver_ = solver
        if readout is not None:
            self.readout_ = readout

    # -- the fitted model --------------------------------------------------------------------------

    def _check_X(self, X: ArrayLike) -> Array:
        """Coordinates of rows to predict."""
        table = self._check_table(X)
        return self.encoder_.encode(table)

    def _check_table(self, X: ArrayLike) -> Array:
        """One number for each cell of rows to predict."""
        check_is_fitted(self)
        with np.errstate(all="ignore"):
            checked: Array = check_table(self, X, reset=False, dtype=INPUT_TYPES)
        return checked

    def trajectory(self, X: ArrayLike, member: int = 0) -> FloatArray:
        """States at the interval ends.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
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
        n_members = len(self.ensemble_)
        if not isinstance(member, Integral) or member not in range(n_members):
            raise ValueError(f"member={member!r} must lie in 0..{n_members - 1}.")
        return self.ensemble_.trajectory(X, member, self.n_jobs)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        # no "string": it would promise that any object is taken for one
        tags.input_tags.categorical = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "controls_")
