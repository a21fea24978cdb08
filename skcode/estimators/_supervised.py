"""What the classifier and the regressor share: members, validation sets, batches."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
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
from skcode.readouts import READOUTS
from skcode.solvers import SOLVERS, Adam, Solver, StochasticSolver
from skcode.training import (
    LEAST_TRIAL_ROWS,
    MOST_TRIAL_ROWS,
    FitReport,
    FlowTargets,
    Member,
    Outcome,
    Rows,
    Stream,
    Trial,
    calibrate_quantiles,
    draw_projection,
    ensemble_of,
    feature_importances,
    fit_heads,
    fit_provisional_heads,
    helpful_members,
    interrupted,
    kinds_of,
    outputs_of,
    parted,
    positive_rows,
    trained_members,
    try_ramps,
    with_linear_readout,
)
from skcode.utils._blocks import OrderedMap
from skcode.utils._random import as_generator
from skcode.utils._sklearn import Interval, StrOptions, fit_context
from skcode.utils._typing import Array, FloatArray


def _own_source(random_state: np.random.RandomState) -> np.random.RandomState:
    """Another source, which leaves this one as it is."""
    return np.random.RandomState(deepcopy(random_state).randint(2**31))


class _Inputs(NamedTuple):
    """Maps of the inputs: of members that have the readout, and the other of those in the pool."""

    own: InputMap
    other: InputMap | None = None


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
        goes_on = self._goes_on
        if goes_on:
            self._check_unchanged()
        with unchanged_by_failure(self), OrderedMap(self.n_jobs) as mapper:
            known = self.ensemble_.target if goes_on else None
            rows, target = self._prepare(X, y, sample_weight, known, reset=not goes_on)
            target.check_whole(rows.y)
            validation = self._validation_rows(target, X_val, y_val, sample_weight_val)
            random_state = check_random_state(self.random_state)
            # a training that goes on keeps its readout, even where "auto" would now take another
            readout = self.readout_ if goes_on else self._choose_readout(validation is not None)
            interrupt, trial = "", None
            if goes_on:
                members = self._copies()
            else:
                if isinstance(readout, GaussianProcessReadout):
                    readout._validate_params()
                inputs, trial, interrupt = self._choose_inputs(
                    rows, target, readout, random_state, mapper
                )
                members = self._draw_all(rows, inputs, target, readout, random_state)
            flow_targets = None
            if isinstance(readout, GaussianProcessReadout):
                alone, pooled = parted(members)
                n_kinds = max(len(kinds_of(pooled)), 1)
                flow_targets = FlowTargets.learn(
                    target, rows, len(alone), self.train_controls, len(pooled), n_kinds
                )
            report = FitReport(self, len(members), X, y, sample_weight)
            if interrupt:
                solver = choose_solver(self.solver, members[0].model.n_normal_entries, len(rows.X))
                outcome = Outcome(False, 0, solver, [], interrupt)
            else:
                outcome = self._train(
                    members, target, rows, validation, random_state, report, mapper, flow_targets
                )
            if not (goes_on or outcome.completed):
                members = trained_members(parted(members)[0])
            interrupt = outcome.interrupt
            if isinstance(readout, GaussianProcessReadout) and flow_targets is not None:
                rng = as_generator(random_state)
                try:
                    fit_heads(members, rows, flow_targets, readout, rng, mapper, trial=trial)
                except KeyboardInterrupt:
                    fit_provisional_heads(members, rows, flow_targets)
                    interrupt = (
                        "Training was interrupted while the readout was fitted. The estimator "
                        "predicts, with a readout that knows only some of the rows."
                    )
                members = helpful_members(members)
            elif outcome.completed:
                calibrate_quantiles(members, target, rows, mapper)
            importances, late = self._importances(members, target, rows)
        self._adopt(members, target, outcome.solver, readout=readout)
        self.feature_importances_ = importances
        report.end()
        self._interrupt(interrupt or late)
        return self

    def _importances(
        self, members: list[Member], target: Target, rows: Rows
    ) -> tuple[FloatArray, str]:
        """Importances of the columns, and the message of an interrupt.

        An interrupt here does not cost the model that is trained.
        """
        ensemble = ensemble_of(members, target)
        try:
            return self.encoder_.by_column(feature_importances(ensemble, target, rows)), ""
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

    def _draw_all(
        self,
        rows: Rows,
        inputs: _Inputs,
        target: Target,
        readout: str | GaussianProcessReadout,
        random_state: np.random.RandomState,
    ) -> list[Member]:
        """All members; those that get a head are trained on one output, by a linear readout."""
        input_map = inputs.own
        process = isinstance(readout, GaussianProcessReadout)
        of_classes = not isinstance(target, RegressionTarget)
        n_members = choose_members(self.n_members, len(rows.X), process, of_classes)
        if not isinstance(readout, GaussianProcessReadout):
            return self._draw(rows, input_map, target, n_members, random_state, READOUTS[readout])
        members = self._draw_for_process(rows, input_map, target, n_members, random_state)
        n_pooled = choose_pooled(readout.n_pooled, len(rows.X), target)
        source = _own_source(random_state)
        pooled = [
            member
            for each in inputs
            if n_pooled and each is not None
            for member in self._draw(rows, each, target, n_pooled, source)
        ]
        for member in pooled:
            member.share = 0.0
        return members + pooled

    def _draw_for_process(
        self,
        rows: Rows,
        input_map: InputMap,
        target: Target,
        n_members: int,
        random_state: np.random.RandomState,
    ) -> list[Member]:
        """Members that are to get a head."""
        members = self._draw(rows, input_map, target, n_members, random_state, constant=np.zeros(1))
        n_outputs = outputs_of(target, rows.y[:1]).shape[1]
        for member in members:
            member.projection = draw_projection(n_outputs, as_generator(random_state))
        return members

    @property
    def _asks_for_ramps(self) -> bool:
        return self.ramps != "auto" and bool(self.ramps)

    def _choose_inputs(
        self,
        rows: Rows,
        target: Target,
        readout: str | GaussianProcessReadout,
        random_state: np.random.RandomState,
        mapper: OrderedMap,
    ) -> tuple[_Inputs, Trial | None, str]:
        """The maps of the inputs, the trial that chose them, and the message of an interrupt.

        They are to ramps if those are asked for, or if a trial on some of the rows says so. Then
        some of the members that are pooled get the kind that lost. The trial has a source of its
        own: all else is drawn as without.
        """
        plain = self._learn_inputs(rows, target)
        tries = (
            self.ramps == "auto"
            and isinstance(readout, GaussianProcessReadout)
            and self.train_controls
            and len(rows.X) >= LEAST_TRIAL_ROWS
        )
        if self._asks_for_ramps and readout == "displacement":
            raise ValueError(
                "ramps=True goes with no readout='displacement', of which output j reads input j. "
                "Set ramps=False, or another readout."
            )
        if not (tries or self._asks_for_ramps):
            return _Inputs(plain), None, ""
        most = choose_ramps(self.ramps, self.n_states, plain.n_inputs, self.vector_fields)
        ramped = plain.with_ramps(rows.X, rows.weight, most, self._dimension) if most else None
        if ramped is None or not isinstance(readout, GaussianProcessReadout) or not tries:
            return _Inputs(ramped or plain), None, ""
        try:
            trial = self._try_ramps(plain, ramped, rows, target, readout, random_state, mapper)
        except KeyboardInterrupt:
            return _Inputs(plain), None, interrupted(0)
        inputs = _Inputs(ramped, plain) if trial.ramps else _Inputs(plain, ramped)
        return inputs, trial, ""

    def _try_ramps(
        self,
        plain: InputMap,
        ramped: InputMap,
        rows: Rows,
        target: Target,
        readout: GaussianProcessReadout,
        random_state: np.random.RandomState,
        mapper: OrderedMap,
    ) -> Trial:
        """Whether a member on ramps predicts left-out rows better than one on the inputs."""
        own = _own_source(random_state)
        some = np.arange(len(rows.X))
        if len(some) > MOST_TRIAL_ROWS:
            some = np.sort(own.choice(some, MOST_TRIAL_ROWS, replace=False))
        tried = Rows(*(part[some] for part in rows))
        seed = own.randint(2**31)
        with_plain, with_ramps = (
            self._draw_for_process(tried, each, target, 1, np.random.RandomState(seed))[0]
            for each in (plain, ramped)
        )
        flow_targets = FlowTargets.learn(target, tried, 1)
        training = replace(self._training(target, flow_targets), verbose=False)
        silent = FitReport(None, 2, rows.X, rows.y, None)
        for outcome in training.run([with_plain, with_ramps], tried, None, own, silent, mapper):
            if not outcome.completed:
                raise KeyboardInterrupt
        return try_ramps(with_plain, with_ramps, tried, flow_targets, readout, seed, mapper)

    def _validation_rows(
        self,
        target: Target,
        X: ArrayLike | None,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ) -> Rows | None:
        """The validation set of the user."""
        if X is None or y is None:
            return None
        X, y = self._check_Xy(X, y, reset=False)
        X, y, weight = positive_rows(X, y, sample_weight)
        return Rows(self.encoder_.encode(X), target.encode(y), weight)

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
        solver._validate_params()
        with unchanged_by_failure(self), OrderedMap(self.n_jobs) as mapper:
            batch = self._check_rows(X, y, sample_weight, reset=fresh)
            if target is not None:
                # what does not fit the model is an error, whatever becomes of the batch
                target.encode(batch[1])
            stream = getattr(self, "_stream", None)
            if stream is None:
                random_state = check_random_state(self.random_state)
                stream = Stream.begin(random_state) if fresh else Stream(random_state)
            rows_so_far = stream.with_batch(batch) if stream.begins else None
            if rows_so_far is not None:
                members, target, stream, readout, rows = self._draw_stream(
                    rows_so_far, target, stream
                )
            else:
                assert target is not None
                readout, members = self.readout_, self._copies()
                if isinstance(readout, GaussianProcessReadout):
                    # a process takes all rows at once: the flows go on, and a linear readout begins
                    readout = "linear"
                    rows = self._encoded(*batch, target, learns=False, later=True)
                    constant = target.loss.initial_scores(rows.y, rows.weight, target.n_outputs)
                    # all members of a stream have one map of the inputs
                    inputs = members[0].model.input_map
                    members = [
                        with_linear_readout(member, constant)
                        for member in members
                        if member.model.input_map.is_plain == inputs.is_plain
                    ]
                if not stream.begins:
                    coordinates = self.encoder_.encode(batch[0])
                    stream, target = stream.follow((coordinates, *batch[1:]), target, members)
                rows = self._encoded(*batch, target, learns=False, later=True)
            self._training(target).run_batch(members, solver, rows, stream.random_state, mapper)
            importances, interrupt = self._importances(members, target, rows)
        self._adopt(members, target, solver, stream, readout)
        self.feature_importances_ = importances
        self._interrupt(interrupt)

    def _draw_stream(
        self, rows: tuple[Array, Array, FloatArray], target: Target | None, stream: Stream
    ) -> tuple[list[Member], Target, Stream, str, Rows]:
        """Members drawn from all rows of a stream so far; classes stay those of its first batch."""
        stream = stream.restarted()
        if target is None or isinstance(target, RegressionTarget):
            target = self._learn_target(*rows[1:])
        # what else there is has no partial_fit
        readout = "displacement" if self.readout == "displacement" else "linear"
        n_members = choose_members(self.n_members, len(rows[1]))
        encoded = self._encoded(*rows, target, learns=True)
        inputs = self._learn_inputs(encoded, target)
        members = self._draw(
            encoded, inputs, target, n_members, stream.random_state, READOUTS[readout]
        )
        for member, before in zip(members, getattr(self, "_members", ()), strict=False):
            # the curves tell of all batches
            member.monitor, member.n_iter = before.monitor.copy(), before.n_iter
        with OrderedMap(1) as serial:
            self._training(target).start_readouts(members, encoded, serial)
        stream = stream.after_draw(rows, target, members, self.scaling is not None)
        return members, target, stream, readout, encoded
