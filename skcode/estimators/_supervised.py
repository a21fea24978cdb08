"""What the classifier and the regressor share: members, validation sets, batches."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skcode.estimators._base import ControlledODEBase
from skcode.estimators._defaults import (
    choose_family,
    choose_members,
    choose_pooled,
    choose_ramps,
    choose_readout,
    choose_solver,
)
from skcode.estimators._serialization import unchanged_by_failure
from skcode.gaussian_process import GaussianProcessReadout
from skcode.inputs import InputMap
from skcode.model import RegressionTarget, Target
from skcode.readouts import READOUTS, LinearReadout
from skcode.solvers import SOLVERS, Adam, Solver, StochasticSolver
from skcode.training import (
    LEAST_TRIAL_ROWS,
    FitReport,
    Member,
    RawRows,
    Rows,
    Start,
    Stream,
    draw_for_heads,
    draw_members,
    draw_pooled,
    ensemble_of,
    feature_importances,
    fit_members,
    positive_rows,
    try_inputs,
    with_linear_readouts,
    without_exposures,
)
from skcode.utils._blocks import OrderedMap
from skcode.utils._sklearn import Interval, StrOptions, fit_context, validate_parameters
from skcode.utils._typing import Array, FloatArray


class _Inputs(NamedTuple):
    """What members are drawn on."""

    #: the map of the members; pooled ones have each of the maps, the one that lost included
    maps: tuple[InputMap, ...]
    #: the training rows, with the coordinates of effects that were found
    rows: Rows
    #: what the trial says of the steps, if there was one
    steps: bool = True
    #: message of an interrupt of the trial; empty without one
    interrupt: str = ""


class _Batch(NamedTuple):
    """What a pass over a batch takes: the members as they were, or drawn anew from all so far."""

    members: list[Member]
    target: Target
    stream: Stream
    readout: str
    rows: Rows


def streams(estimator: SupervisedBase) -> bool:
    """Whether partial_fit exists.

    It does for a stochastic or automatic solver, without early stopping, and with a readout that
    can learn from one batch after another.
    """
    solver = estimator.solver
    kind = type(solver) if isinstance(solver, Solver) else SOLVERS.get(solver, Adam)
    if not issubclass(kind, StochasticSolver):
        raise AttributeError(
            f"partial_fit needs a stochastic solver ('sgd', 'adam') or 'auto'; solver={solver!r}."
        )
    if estimator.early_stopping:
        raise AttributeError("partial_fit does not support early_stopping=True.")
    if isinstance(estimator.readout, GaussianProcessReadout) or (
        estimator.readout == "gaussian_process"
    ):
        raise AttributeError(
            "partial_fit needs readout='auto', 'linear' or 'displacement': a Gaussian process "
            "takes all rows at once."
        )
    return True


class SupervisedBase(ControlledODEBase):
    """Base of the estimators that predict targets; not for direct use."""

    n_members: int | None
    ramps: bool | str
    value_effects: bool
    #: what maps final states to scores: a name, or the Gaussian process
    readout_: str | GaussianProcessReadout
    feature_importances_: FloatArray
    #: what a stream of batches remembers
    _stream: Stream | None
    _parameter_constraints: dict[str, list[Any]] = {
        **ControlledODEBase._parameter_constraints,
        "readout": [StrOptions({"auto", "gaussian_process", *READOUTS}), GaussianProcessReadout],
        "n_members": [Interval(Integral, 1, None, closed="left"), None],
        "ramps": ["boolean", StrOptions({"auto"})],
        "value_effects": ["boolean"],
    }

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
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,) or None
            Weights; an integer weight does what repeating the row does. With a Gaussian process as
            readout, or a number for `alpha`, only their ratios count. With a linear readout and
            ``alpha=None`` Gauss-Newton takes their sum for the number of observations, at least
            that of the distinct rows: larger weights are more evidence, and a sum below that
            number is raised to it.
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
        goes_on = self._goes_on
        if goes_on:
            self._check_unchanged()
        with unchanged_by_failure(self), OrderedMap(self.n_jobs) as mapper:
            known = self.ensemble_.target if goes_on else None
            table, rows, target = self._prepare(X, y, sample_weight, known, reset=not goes_on)
            target.check_whole(rows.y)
            held = self._validation_table(target, X_val, y_val, sample_weight_val)
            random_state = check_random_state(self.random_state)
            # a training that goes on keeps its readout, even where "auto" would now take another
            readout = self.readout_ if goes_on else self._choose_readout(held is not None)
            if isinstance(readout, GaussianProcessReadout):
                rows = without_exposures(rows, target)
            if goes_on:
                start = Start(self._copies(), goes_on=True)
            else:
                inputs = self._choose_inputs(table, rows, target, readout, random_state, mapper)
                rows, start = inputs.rows, self._start(inputs, target, readout, random_state)
            # encoded last, as effects of values may have been found
            validation = held and held._replace(X=self.encoder_.encode(held.X))
            training = self._training(target)
            report = FitReport(self, len(start.members), X, y, sample_weight)
            end = fit_members(
                start, readout, training, rows, validation, random_state, report, mapper
            )
            importances, late = self._importances(end.members, target, rows)
        self._adopt(end.members, target, end.solver, readout=readout)
        self.feature_importances_ = importances
        report.end()
        self._interrupt(end.interrupt or late)
        return self

    def _importances(
        self, members: list[Member], target: Target, rows: Rows
    ) -> tuple[FloatArray, str]:
        """Importances of the columns, and the message of an interrupt.

        An interrupt here does not cost the model that is trained.
        """
        ensemble = ensemble_of(members, target)
        try:
            categories = self.encoder_.categories
            importances = feature_importances(ensemble, target, rows, categories)
            return self.encoder_.by_column(importances), ""
        except KeyboardInterrupt:
            message = (
                "The fit was interrupted after the training: the estimator predicts, and "
                "feature_importances_ is NaN."
            )
            return np.full(len(self.encoder_.names), np.nan), message

    def _choose_readout(self, has_validation: bool) -> str | GaussianProcessReadout:
        return choose_readout(
            self.readout,
            self.solver,
            choose_family(self.vector_fields),
            has_validation or self.early_stopping,
        )

    def _start(
        self,
        inputs: _Inputs,
        target: Target,
        readout: str | GaussianProcessReadout,
        random_state: np.random.RandomState,
    ) -> Start:
        """New members, on the inputs or on ramps of them."""
        own, rows, n = inputs.maps[0], inputs.rows, len(inputs.rows.X)
        if not isinstance(readout, GaussianProcessReadout):
            design, n_members = self._design(READOUTS[readout]), choose_members(self.n_members, n)
            return Start(draw_members(design, rows, own, target, n_members, random_state))
        of_classes = not isinstance(target, RegressionTarget)
        n_members = choose_members(self.n_members, n, process=True, of_classes=of_classes)
        n_pooled = choose_pooled(readout.n_pooled, n, target)
        # flows of a process are trained by linear readouts
        design = self._design(LinearReadout)
        members = draw_for_heads(design, rows, own, target, n_members, random_state)
        members += draw_pooled(design, rows, inputs.maps, target, n_pooled, random_state)
        return Start(members, steps=inputs.steps, interrupt=inputs.interrupt)

    @property
    def _asks_for_ramps(self) -> bool:
        return self.ramps != "auto" and bool(self.ramps)

    def _choose_inputs(
        self,
        table: Array,
        rows: Rows,
        target: Target,
        readout: str | GaussianProcessReadout,
        random_state: np.random.RandomState,
        mapper: OrderedMap,
    ) -> _Inputs:
        """Maps of the inputs: to ramps if those are asked for, or if a trial on some rows says so.

        Then some of the members that are pooled get the kind that lost. Where the trial finds
        effects of single values, the encoder and the rows have them as well.
        """
        plain = self._learn_inputs(rows, target, readout)
        if self._asks_for_ramps:
            if readout == "displacement":
                raise ValueError(
                    "ramps=True goes with no readout='displacement', of which output j reads input "
                    "j. Set ramps=False, or another readout."
                )
            return _Inputs((self._with_ramps(plain, rows) or plain,), rows)
        can_try = self.ramps == "auto" and self.train_controls and len(rows.X) >= LEAST_TRIAL_ROWS
        if not (can_try and isinstance(readout, GaussianProcessReadout)):
            return _Inputs((plain,), rows)
        ramped = self._with_ramps(plain, rows)
        if ramped is None:
            return _Inputs((plain,), rows)
        design, training = self._design(LinearReadout), self._training(target)
        asked = (table, self.encoder_) if self.value_effects else None
        choice = try_inputs(
            plain, ramped, rows, asked, design, training, readout, random_state, mapper
        )
        if choice.effects is not None:
            self.encoder_ = self.encoder_.with_effects(choice.effects.effects)
            coordinates = choice.effects.coordinates.astype(rows.X.dtype, copy=False)
            rows = rows._replace(X=np.hstack([rows.X, coordinates]))
            plain = self._learn_inputs(rows, target, readout)
            ramped = self._with_ramps(plain, rows)
        maps = (ramped, plain) if choice.ramps else (plain, ramped)
        there = tuple(each for each in maps if each is not None)
        return _Inputs(there, rows, choice.steps, choice.interrupt)

    def _with_ramps(self, plain: InputMap, rows: Rows) -> InputMap | None:
        """The map to ramps of the inputs; None where there is nothing to bend, or no room."""
        most = choose_ramps(self.ramps, self.n_states, plain.n_inputs, self.vector_fields)
        return plain.with_ramps(rows.X, rows.weight, most, self._dimension) if most else None

    def _validation_table(
        self,
        target: Target,
        X: ArrayLike | None,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ) -> Rows | None:
        """The validation set of the user, not encoded yet."""
        if X is None or y is None:
            return None
        X, y = self._check_Xy(X, y, reset=False)
        X, y, weight, _ = positive_rows(X, y, sample_weight)
        return Rows.single(X, target.encode(y), weight)

    def _partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        target: Target | None = None,
    ) -> None:
        """One pass of the stochastic solver over these rows; the first batch may name a target."""
        fresh = not hasattr(self, "ensemble_")
        if not fresh:
            self._check_unchanged()
            target = self.ensemble_.target
        elif self._asks_for_ramps:
            raise ValueError(
                "partial_fit cannot begin with ramps=True: the first rows of a stream do not tell "
                "its quantiles. Set ramps='auto', or fit on some rows first."
            )
        solver = Adam() if self.solver == "auto" else choose_solver(self.solver, 0, 0)
        # what else there is has no partial_fit
        assert isinstance(solver, StochasticSolver)
        validate_parameters(solver)
        with unchanged_by_failure(self), OrderedMap(self.n_jobs) as mapper:
            raw = self._check_rows(X, y, sample_weight, reset=fresh)
            if target is not None:
                # what does not fit the model is an error, whatever becomes of the batch
                target.encode(raw.y)
            batch = self._batch(raw, target)
            members, target = batch.members, batch.target
            random_state = batch.stream.random_state
            self._training(target).run_batch(members, solver, batch.rows, random_state, mapper)
            importances, interrupt = self._importances(members, target, batch.rows)
        self._adopt(members, target, solver, batch.stream, batch.readout)
        self.feature_importances_ = importances
        self._interrupt(interrupt)

    def _batch(self, raw: RawRows, target: Target | None) -> _Batch:
        """These rows and the members that learn from them; without a model the target is new."""
        fresh = not hasattr(self, "ensemble_")
        stream = getattr(self, "_stream", None)
        if stream is None:
            random_state = check_random_state(self.random_state)
            stream = Stream.begin(random_state) if fresh else Stream(random_state)
        rows_so_far = stream.with_batch(raw) if stream.begins else None
        if rows_so_far is not None:
            return self._begun(rows_so_far, target, stream)
        assert target is not None
        return self._followed(raw, target, stream)

    def _begun(self, raw: RawRows, target: Target | None, stream: Stream) -> _Batch:
        """Members drawn from all rows of a stream so far; classes stay those of its first batch."""
        stream = stream.restarted()
        if target is None or isinstance(target, RegressionTarget):
            target = self._learn_target(raw.y, raw.weight)
        # what else there is has no partial_fit
        readout = "displacement" if self.readout == "displacement" else "linear"
        rows = self._encoded(self._learn_columns(raw, target), target)
        members = self._training(target).begin_batches(
            self._design(READOUTS[readout]),
            rows,
            self._learn_inputs(rows, target, readout),
            choose_members(self.n_members, len(raw.y)),
            stream.random_state,
            before=getattr(self, "_members", ()),
        )
        stream = stream.after_draw(raw, target, members, self.scaling is not None)
        return _Batch(members, target, stream, readout, rows)

    def _followed(self, raw: RawRows, target: Target, stream: Stream) -> _Batch:
        """The members of the last call or fit, whose scales follow the stream."""
        readout, members = self.readout_, self._copies()
        if isinstance(readout, GaussianProcessReadout):
            # a process takes all rows at once: the flows go on, and a linear readout begins
            readout = "linear"
            rows = self._encoded(raw, target, later=True)
            constant = target.loss.initial_scores(rows.y, rows.weight, target.n_outputs)
            members = with_linear_readouts(members, constant)
            with OrderedMap(1) as serial:
                self._training(target).start_readouts(members, rows, serial)
            warnings.warn(
                "partial_fit goes on without the Gaussian process of the fit before: a linear "
                "readout takes its place, which begins with the rows of this batch.",
                stacklevel=6,
            )
        if not stream.begins:
            encoded = raw._replace(X=self.encoder_.encode(raw.X))
            stream, target = stream.follow(encoded, target, members)
        rows = self._encoded(raw, target, later=True)
        return _Batch(members, target, stream, readout, rows)
