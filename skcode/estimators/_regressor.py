"""The regressor."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import column_or_1d

from skcode.estimators._defaults import scores_poorly
from skcode.estimators._supervised import SupervisedBase, streams
from skcode.estimators._tables import check_table
from skcode.fields import FieldFamily
from skcode.gaussian_process import GaussianProcessReadout
from skcode.losses import REGRESSION_LOSSES, SmoothPinball, SquaredError
from skcode.model import RegressionTarget
from skcode.solvers import Solver
from skcode.utils._sklearn import Interval, StrOptions, available_if, fit_context
from skcode.utils._typing import Array, FloatArray


class ControlledODERegressor(RegressorMixin, SupervisedBase):
    r"""Regression by a controlled neural ODE.

    .. math:: X_0 = E(x), \quad dX_t = \sum_{i=1}^d u^i_t V_i(X_t)\,dt, \quad \hat y = R(X_1)

    with random, frozen vector fields V_i and trained, piecewise-constant controls u, fitted to the
    squared error, or to another loss.

    Parameters
    ----------
    vector_fields : str, FieldFamily or None
        The law of the random vector fields: None for the recommended stack, ``DiagonalFields() |
        NeuralFields(rank=1, sparse=0.5, centred=True)``; "neural", "polynomial", "linear",
        "affine", "diagonal" or "universal" for that family alone; or one from `skcode.fields`.
    n_fields : int
        Number d of fields of each family whose number is free. The recommended stack has one more
        for each input.
    n_intervals : int or None
        Number M of intervals on which the controls are constant; the depth of the network. None is
        3 from 1,000 distinct rows on, and 2 for fewer.
    n_states : int or None
        Dimension m of the state, at least the number p of inputs (of numbers; categories and dates
        are several inputs); the state starts with zeros
        beyond them. None is max(64, p + 32) for the recommended fields and max(p, 2) for others.
        With the recommended fields and None, 96 directions stand in for more than 128 inputs. Where
        there are ramps (below), p is their number.
    n_members : int or None
        Models that are trained, each with fields of its own, and averaged. None is 4 from 1,000
        distinct rows on, and 6 for fewer; with a Gaussian process it is 2 from 2,500 rows on.
    integrator : {"euler", "midpoint", "heun", "rk4"}
        The scheme, with one step for each interval.
    readout : {"auto", "gaussian_process", "linear", "displacement"} or GaussianProcessReadout
        "gaussian_process" is a Gaussian process on the final states X_1: the flow is trained with a
        linear readout of one output (of several, or of classes, a random projection, another for
        each member), then the process is fitted to all outputs in closed form.
        `skcode.gaussian_process.GaussianProcessReadout` carries its parameters. "linear" is
        A X_1 + b. "displacement" is lambda (X_1 - x) with one trained number lambda; output j reads
        state j. "auto" is the Gaussian process where the solver is "auto" or Gauss-Newton, without
        early stopping or a validation set, for the squared error, and not for families of images;
        else, and with `partial_fit`, it is "linear". The choice is in ``readout_``.
    solver : {"auto", "gauss-newton", "lbfgs", "sgd", "adam"} or Solver
        "auto" is Gauss-Newton while its matrix takes at most 72 MB (M d controls and K readouts of
        m + 1 weights: (M d)^2 + K (m + 1) (M d + m + 1) numbers), and beyond that L-BFGS up to
        20,000 rows, else Adam. A solver from `skcode.solvers` carries parameters of its own. The
        choice is in ``solver_``.
    alpha : float or None
        Strength of the penalty :math:`\frac{\alpha}{2} (\int_0^1 |u_t|^2 dt + |A|^2)`, beside the
        weighted mean of the losses. None leaves it to Gauss-Newton, which finds the strengths from
        the data by their evidence; it is 1e-4 for the other solvers.
    max_iter : int or None
        Largest number of iterations, or of passes over the data. None is the solver's own choice,
        which for Gauss-Newton without `alpha` is 15 steps: most of what training gains at little
        of its price. A larger number goes on as long as the evidence grows. A fit that ends at the
        number you name before that warns of it.
    tol : float
        Tolerance of the stopping rules, in units of the loss.
    categorical_features : "from_dtype", array-like or None
        Which columns are categories. "from_dtype" goes by their types: columns of categories and of
        text are, numbers, booleans, dates and durations are not. A list of names, of indices, or a
        mask names them instead, and None says that there are none; the other columns then have to
        be numbers or dates.
    scaling : {"auto", "robust", "asinh", "standard", "common"} or None
        Scaling of the inputs inside the model. "robust" is median and quartiles with a smooth bound
        at 3, so that outliers cannot drive the flow far out; "asinh" is the same with
        ``2 asinh(z / 2)`` in place of the bound, which is a logarithm far out: a target can follow
        a heavy-tailed input, or a trend, beyond the bulk of the rows; "standard" is mean and
        deviation; "common" is one mean and one deviation for all inputs, as images need it.
        "auto" is "asinh" where a Gaussian process reads out the recommended fields and columns are
        not so many that they are projected, and "robust" elsewhere.
        Regression targets are standardised unless it is None. Statistics are weighted.
    ramps : {"auto", True, False}
        Whether the state carries ramps in place of each scaled input that has three values or more:
        what of it lies between two of its quantiles, in up to eight parts, each scaled robustly. A
        flow can stretch each part by itself, which suits laws with steps and bends. "auto" is a
        trial where fields and states are None and a Gaussian process reads out, from 200 distinct
        rows on: a member with ramps and one without are trained on at most 4,096 rows, and the
        ramps are taken if left-out rows are predicted better. All inputs together have at most 96
        ramps, or `n_states`; where that is less than two for each, or inputs are projected, there
        are none. ``ensemble_.input_map.ramps`` tells.
    value_effects : bool
        Whether effects of single values are sought: where the trial of ramps finds that rows of one
        value of a column have more in common than the model says, as rows of a day, a batch or a
        house have, the mean of what it leaves of them, shrunk to zero, is an input as well. Three
        columns have some at most, and only those of which the effects are found to lessen the
        errors of rows that did not make them, by three standard errors. ``encoder_.effects`` tells.
    train_controls : bool
        False keeps the controls at their random start and trains the readout alone.
    warm_start : bool
        Whether `fit` continues from where the last fit ended. Solver, penalty and stopping may
        change in between; what the model is drawn from (`vector_fields`, `n_fields`,
        `n_intervals`, `n_states`, `n_members`, `integrator`, `readout`, `scaling`,
        `ramps`, `value_effects`, `categorical_features`) may not, and what became of the columns
        stays.
    early_stopping : bool
        Whether to hold out a part of the data, stop when its loss does not fall any more, and keep
        the best iterate. Every member holds out a part of its own.
    validation_fraction : float
        Share of the distinct rows held out by early stopping, stratified by class.
    n_iter_no_change : int
        Iterations without progress by `tol` after which training stops: progress of the validation
        loss with early stopping, else of the objective with "lbfgs", "sgd" and "adam". Gauss-Newton
        has rules of its own.
    n_jobs : int or None
        Workers for blocks of samples, as in joblib. Results do not depend on it.
    random_state : int, RandomState or None
        Source of the fields and of the start; an int makes fits reproducible to the bit.
    verbose : bool or int
        Whether to print a line for each iteration.
    loss : {"squared_error", "poisson", "gamma", "huber", "quantile"}
        What is minimised. "poisson" is for counts and rates, y >= 0, and "gamma" for costs and
        durations, y > 0: half the deviance, with positive predictions exp(R(X_1)). "huber" is the
        squared error up to half a robust deviation of y (from its quartiles), and linear beyond, so
        that outliers in y count little. "quantile" predicts a quantile of y by the pinball loss,
        smoothed over a twentieth of that deviation. All but the squared error need a readout that
        is trained, and take the linear one. `score` is R2 for all of them;
        `sklearn.metrics.d2_tweedie_score` and `d2_pinball_score` go with the deviances and the
        quantiles.
    quantile : float
        Level of the quantile for ``loss="quantile"``, in (0, 1).

    Attributes
    ----------
    controls_ : ndarray of shape (n_intervals, d)
        Trained controls. Column i belongs to the field ``vector_fields_.labels[i]``.
    readout_coef_, readout_intercept_ : ndarray of shape (K, n_states) and (K,)
        The linear readout of the final states, for scaled inputs and targets. They weigh states,
        not columns of X.
    scale_ : float
        lambda, with the displacement readout.
    kernel_ : Kernel
        The kernel on final states, with the readout by a Gaussian process.
    readout_ : str or GaussianProcessReadout
        The readout that was used. A fit that goes on (`warm_start`) keeps it.
    feature_importances_ : ndarray of shape (p,)
        How much each column counts, in all members together; their sum is one. It is the mean size
        of the derivative of the prediction in the scaled column, times the deviation of that
        column, at up to 128 points between training rows.
    vector_fields_ : DrawnFields
        The drawn fields.
    n_parameters_ : int
        Trained numbers in all: M d, and those of the readout, for each member. A Gaussian process
        has a coefficient for each of its points and outputs.
    n_iter_ : int
        Iterations; the most among members.
    loss_curve_, loss_ : list of float, float
        The objective after each iteration, and its last value: mean loss plus penalty. Where
        Gauss-Newton finds the penalty (``alpha=None``), it is minus the log evidence per row, up to
        a constant: that can be compared from step to step, and may be negative.
        With a Gaussian process both are those of the flow and its linear readout.
    validation_loss_curve_, validation_scores_, best_validation_score_ : list, list, float
        Loss and score on the validation part; None without one. With a Gaussian process both
        are of the flow and its linear readout.
    ensemble_ : Ensemble
        What predicts: the fitted members, and the target they predict.
    encoder_ : ColumnEncoder
        What becomes of the columns of X: see `skcode.columns`.
    solver_ : Solver
        The solver that was used.
    n_features_in_, feature_names_in_ : int, ndarray of shape (p,)
        Number of columns of X, and their names where they have names.

    Notes
    -----
    With several members the array attributes above have a leading axis for those that predict, and
    the others are lists.

    Rows are brought into a canonical form first, up to 50,000 of them: equal rows are merged and
    the rest is sorted by a hash. A fit does therefore not depend on the order of rows, and an
    integer weight does what repetition does, bit for bit.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (200, 2))
    >>> y = X[:, 0] * X[:, 1]
    >>> model = ControlledODERegressor(random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **SupervisedBase._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        vector_fields: str | FieldFamily | None = None,
        n_fields: int = 64,
        n_intervals: int | None = None,
        n_states: int | None = None,
        n_members: int | None = None,
        integrator: str = "euler",
        readout: str | GaussianProcessReadout = "auto",
        solver: str | Solver = "auto",
        alpha: float | None = None,
        max_iter: int | None = None,
        tol: float = 1e-4,
        categorical_features: ArrayLike | str | None = "from_dtype",
        scaling: str | None = "auto",
        ramps: bool | str = "auto",
        value_effects: bool = True,
        train_controls: bool = True,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
        loss: str = "squared_error",
        quantile: float = 0.5,
    ):
        super().__init__(
            vector_fields=vector_fields,
            n_fields=n_fields,
            n_intervals=n_intervals,
            n_states=n_states,
            integrator=integrator,
            readout=readout,
            solver=solver,
            alpha=alpha,
            max_iter=max_iter,
            tol=tol,
            categorical_features=categorical_features,
            scaling=scaling,
            train_controls=train_controls,
            warm_start=warm_start,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.n_members = n_members
        self.ramps = ramps
        self.value_effects = value_effects
        self.loss = loss
        self.quantile = quantile

    def _check_Xy(self, X: ArrayLike, y: ArrayLike, reset: bool) -> tuple[Array, Array]:
        checked, targets = check_table(
            self,
            X,
            y,
            reset=reset,
            multi_output=True,
            y_numeric=True,
            dtype=[np.float64, np.float32],
        )
        if self._positive and targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        return checked, targets

    @property
    def _positive(self) -> bool:
        """Whether targets may not be negative; a name of no loss is an error of `fit` alone."""
        kind = REGRESSION_LOSSES.get(self.loss, SquaredError)
        return kind.log_link

    def _learn_target(self, y: Array, weight: FloatArray) -> RegressionTarget:
        loss = REGRESSION_LOSSES[self.loss]()
        if isinstance(loss, SmoothPinball):
            loss = SmoothPinball(self.quantile)
        return RegressionTarget.learn(y, weight, scaling=self.scaling is not None, loss=loss)

    def _choose_readout(self, has_validation: bool) -> str | GaussianProcessReadout:
        if self.loss == "squared_error":
            return super()._choose_readout(has_validation)
        # a Gaussian process has its closed form for Gaussian noise alone
        if isinstance(self.readout, str) and self.readout != "gaussian_process":
            return "linear" if self.readout == "auto" else self.readout
        raise ValueError(
            f"readout={self.readout!r} needs loss='squared_error'; got loss={self.loss!r}. Set "
            "readout='auto' or 'linear'."
        )

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> FloatArray: ...
    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[FloatArray, FloatArray]: ...
    @overload
    def predict(
        self, X: ArrayLike, return_std: bool
    ) -> FloatArray | tuple[FloatArray, FloatArray]: ...
    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        r"""Predict targets.

        The standard deviation is that of a new observation: its square is the variance between the
        members' predictions plus the mean of what each member says. With a Gaussian process that is
        a model of the squared residuals of rows that were left out, which may depend on x; with
        another readout it is :math:`J P^{-1} J^T + 1/\beta` (Laplace posterior of the parameters,
        noise). A value of a column with effects (`value_effects`) that is new adds their variance.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.
        return_std : bool
            Whether to return standard deviations as well; needs a Gaussian process, or the
            Gauss-Newton solver.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, of the float type of the training inputs.
        y_std : ndarray of the same shape
            Standard deviations, with ``return_std=True``.

        Raises
        ------
        ValueError
            If the flow explodes for a sample, which unbounded fields may do far from the data; or
            if there is no posterior for `return_std`.
        """
        table = self._check_table(X)
        X = self.encoder_.encode(table)
        target = self.ensemble_.target
        assert isinstance(target, RegressionTarget)
        if not return_std:
            return target.mean_prediction(self.ensemble_.scores(X, self.n_jobs))
        if not target.loss.quadratic:
            raise ValueError(
                "return_std=True needs loss='squared_error'; this model was fitted with "
                f"loss={self.loss!r}. Two models with loss='quantile' give the ends of an interval."
            )
        if not self.ensemble_.has_variance:
            raise ValueError(
                "return_std=True needs a Gaussian process as readout, or the posterior that "
                "solver='gauss-newton' leaves (without early_stopping); this model was trained in "
                "another way."
            )
        mean, deviation = self.ensemble_.moments(X, self.n_jobs)
        if self.encoder_.effects:
            added = self.encoder_.variance(table)
            deviation = np.sqrt(deviation**2 + added).astype(deviation.dtype, copy=False)
        return target.decode(mean), target.spread(deviation)

    @available_if(streams)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """One pass over a batch of rows.

        The first batch says what becomes of the columns (a level that it lacks is as rare levels
        are). The first rows set the scales and draw the fields, and their number decides depth and
        members where ``n_intervals`` and ``n_members`` are None. Rows are held until there are 64
        distinct ones (up to 1,024 while y does not vary), and the model is drawn anew from all of
        them at each call until then. Later the scale of y follows the stream, for the squared error
        and the linear readout, and predictions do not jump when it does. A column that was constant
        is read from when it varies. Rates are constant or "invscaling": "cosine" and "adaptive"
        need the whole of a training and are constant here. After a `fit` with a Gaussian process
        its flows go on, and a linear readout takes its place: a warning says so.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,) or None
            Weights.

        Returns
        -------
        self
            The updated estimator.

        Raises
        ------
        ValueError
            If the batch does not fit the model, or every flow explodes. With early stopping, or a
            Gaussian process as `readout`, there is no `partial_fit`.
        """
        self._partial_fit(X, y, sample_weight)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self._positive
        # several outputs work for every loss, but what scikit-learn checks of those who say so has
        # negative targets
        tags.target_tags.multi_output = not self._positive
        tags.regressor_tags.poor_score = scores_poorly(self.vector_fields, self.readout)
        return tags
