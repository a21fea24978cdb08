"""The transformer."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import type_of_target

from skcode.estimators._base import ControlledODEBase
from skcode.estimators._serialization import unchanged_by_failure
from skcode.estimators._tables import check_table
from skcode.fields import FieldFamily
from skcode.model import ClassificationTarget, MultilabelTarget, RegressionTarget, Target
from skcode.readouts import READOUTS
from skcode.solvers import Solver
from skcode.training import (
    FitReport,
    Rows,
    Start,
    canonical,
    draw_members,
    fit_members,
    positive_rows,
)
from skcode.utils._blocks import OrderedMap
from skcode.utils._sklearn import StrOptions, fit_context
from skcode.utils._typing import Array, FloatArray

#: values of integer targets up to which they are classes; prices and counts have more
_MOST_INTEGER_CLASSES = 30


class ControlledODETransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ControlledODEBase
):
    r"""Features X_1 of a controlled neural ODE.

    Without targets the controls are random: random features of depth `n_intervals`. With targets
    they are trained as in `ControlledODERegressor` with a linear readout (targets of a float type,
    or integers of more than 30 values) or `ControlledODEClassifier` (classes: all others), and the
    readout is dropped.

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
    integrator : {"euler", "midpoint", "heun", "rk4"}
        The scheme, with one step for each interval.
    readout : {"linear", "displacement"}
        "linear" is A X_1 + b. "displacement" is lambda (X_1 - x) with one trained number lambda;
        output j reads state j.
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
        Largest number of iterations, or of passes over the data. None is the solver's own choice.
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
        "auto" is "robust" here.
        Regression targets are standardised unless it is None. Statistics are weighted.
    train_controls : bool
        False keeps the controls at their random start and trains the readout alone.
    warm_start : bool
        Whether `fit` continues from where the last fit ended. Solver, penalty and stopping may
        change in between; what the model is drawn from (`vector_fields`, `n_fields`,
        `n_intervals`, `n_states`, `integrator`, `readout`, `scaling`, `categorical_features`) may
        not, and what became of the columns stays.
        Without targets there is nothing to continue.
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

    Attributes
    ----------
    controls_ : ndarray of shape (n_intervals, d)
        Trained controls. Column i belongs to the field ``vector_fields_.labels[i]``.
    readout_coef_, readout_intercept_ : ndarray of shape (K, n_states) and (K,)
        The linear readout of the final states, for scaled inputs and targets. They weigh states,
        not columns of X.
    scale_ : float
        lambda, with the displacement readout.
    vector_fields_ : DrawnFields
        The drawn fields.
    n_parameters_ : int
        Trained numbers in all: M d, and those of the readout, for each member.
    n_iter_ : int
        Iterations; the most among members.
    loss_curve_, loss_ : list of float, float
        The objective after each iteration, and its last value: mean loss plus penalty. Where
        Gauss-Newton finds the penalty (``alpha=None``), it is minus the log evidence per row, up to
        a constant: that can be compared from step to step, and may be negative.
    validation_loss_curve_, validation_scores_, best_validation_score_ : list, list, float
        Loss and score on the validation part; None without one.
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
    >>> from skcode import ControlledODETransformer
    >>> X = np.random.default_rng(0).standard_normal((20, 3))
    >>> ControlledODETransformer(n_states=8, random_state=0).fit_transform(X).shape
    (20, 8)
    """

    _parameter_constraints = {
        **ControlledODEBase._parameter_constraints,
        "readout": [StrOptions(set(READOUTS))],
    }

    def __init__(
        self,
        vector_fields: str | FieldFamily | None = None,
        n_fields: int = 64,
        n_intervals: int | None = None,
        n_states: int | None = None,
        integrator: str = "euler",
        readout: str = "linear",
        solver: str | Solver = "auto",
        alpha: float | None = None,
        max_iter: int | None = None,
        tol: float = 1e-4,
        categorical_features: ArrayLike | str | None = "from_dtype",
        scaling: str | None = "auto",
        train_controls: bool = True,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Draw the fields, and train the controls if there are targets.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs) or None
            Targets.
        sample_weight : array-like of shape (n_samples,) or None
            Weights.

        Returns
        -------
        self
            The fitted transformer.
        """
        if y is None or not self.train_controls:
            return self._fit_random(X, y, sample_weight)
        goes_on = self._goes_on
        if goes_on:
            self._check_unchanged()
        with unchanged_by_failure(self), OrderedMap(self.n_jobs) as mapper:
            known = self.ensemble_.target if goes_on else None
            _, rows, target = self._prepare(X, y, sample_weight, known, reset=not goes_on)
            random_state = check_random_state(self.random_state)
            if goes_on:
                start = Start(self._copies(), goes_on=True)
            else:
                inputs = self._learn_inputs(rows, target, self.readout)
                design = self._design(READOUTS[self.readout])
                start = Start(draw_members(design, rows, inputs, target, 1, random_state))
            training, report = self._training(target), FitReport(self, 1, X, y, sample_weight)
            end = fit_members(
                start, self.readout, training, rows, None, random_state, report, mapper
            )
        self._adopt(end.members, target, end.solver)
        report.end()
        self._interrupt(end.interrupt)
        return self

    def _fit_random(
        self, X: ArrayLike, y: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> Self:
        """Draw the fields, and leave the controls where they start."""
        report = FitReport(self, 0, X, y, sample_weight)
        with unchanged_by_failure(self), OrderedMap(self.n_jobs):
            checked: Array = check_table(self, X, reset=True, dtype=[np.float64, np.float32])
            zeros = np.zeros((checked.shape[0], 1))
            raw = positive_rows(checked, zeros, sample_weight)
            self.encoder_, checked = self.encoder_.with_levels_of(raw.X)
            checked, zeros, weight, _ = canonical(raw._replace(X=checked))
            self._learn_encoder(checked, None, zeros, weight)
            rows = Rows.single(self._encode(checked, None, zeros, weight), zeros, weight)
            random_state = check_random_state(self.random_state)
            inputs = self._learn_inputs(rows, None, self.readout)
            design = self._design(READOUTS[self.readout])
            members = draw_members(design, rows, inputs, None, 1, random_state)
        self._adopt(members, None, None)
        report.end()
        return self

    def _check_Xy(self, X: ArrayLike, y: ArrayLike, reset: bool) -> tuple[Array, Array]:
        checked, targets = check_table(
            self, X, y, reset=reset, multi_output=True, dtype=[np.float64, np.float32]
        )
        one_column = targets.ndim == 2 and targets.shape[1] == 1
        return checked, targets.ravel() if one_column else targets

    def _learn_target(self, y: Array, weight: FloatArray) -> Target:
        kind = type_of_target(y)
        # floats are numbers, even where all of them are whole, and so are integers of many values
        many = y.dtype.kind in "iu" and len(np.unique(y)) > _MOST_INTEGER_CLASSES
        if (y.dtype.kind == "f" or many) and not kind.startswith("multilabel"):
            return RegressionTarget.learn(y, weight, scaling=self.scaling is not None)
        if kind.startswith("multilabel"):
            return MultilabelTarget(y.shape[1])
        if y.ndim == 2 and y.shape[1] > 1:
            raise ValueError("Multi-output targets of several classes each are not supported.")
        return ClassificationTarget.learn(y)

    def transform(self, X: ArrayLike) -> FloatArray:
        """Final states.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_states)
            X_1.
        """
        X = self._check_X(X)
        return self.ensemble_.states(X, self.n_jobs)

    @property
    def _n_features_out(self) -> int:
        n_states: int = self.vector_fields_.n_states
        return n_states

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
