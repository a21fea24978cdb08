"""The classifier."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skcode.estimators._base import INPUT_TYPES
from skcode.estimators._defaults import scores_poorly
from skcode.estimators._supervised import SupervisedBase, streams
from skcode.estimators._tables import check_table
from skcode.fields import FieldFamily
from skcode.gaussian_process import GaussianProcessReadout
from skcode.model import ClassificationTarget, ClassTarget, MultilabelTarget, Target
from skcode.solvers import Solver
from skcode.utils._sklearn import StrOptions, available_if, fit_context
from skcode.utils._typing import Array, FloatArray


class ControlledODEClassifier(ClassifierMixin, SupervisedBase):
    r"""Classification by a controlled neural ODE.

    .. math:: X_0 = E(x), \quad dX_t = \sum_{i=1}^d u^i_t V_i(X_t)\,dt, \quad
        P(y = k \mid x) = \mathrm{softmax}(R(X_1))_k

    with random, frozen vector fields V_i and trained, piecewise-constant controls u, fitted to the
    cross-entropy. Two classes and multilabel targets use the logistic function, output by output.

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
        distinct rows on, and 6 for fewer; with a Gaussian process it is 2 beyond 4,096 rows.
    integrator : {"euler", "midpoint", "heun", "rk4"}
        The scheme, with one step for each interval.
    readout : {"auto", "gaussian_process", "linear", "displacement"} or GaussianProcessReadout
        "gaussian_process" is a Gaussian process on the final states X_1: the flow is trained with a
        linear readout of one output (of several, or of classes, a random projection, another for
        each member), then the process is fitted to all outputs in closed form.
        `skcode.gaussian_process.GaussianProcessReadout` carries its parameters. "linear" is
        A X_1 + b. "displacement" is lambda (X_1 - x) with one trained number lambda; output j reads
        state j. "auto" is the Gaussian process where the solver is "auto" or Gauss-Newton, without
        early stopping or a validation set, and not for families of images; else, and with
        `partial_fit`, it is "linear". The choice is in ``readout_``.
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
        "auto" is "robust" here.
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
    class_weight : dict, "balanced" or None
        Factors of the sample weights by class. "balanced" is N / (K N_k) with the weights N and
        N_k of all rows and of class k, and keeps the sum of the weights; a dict may change it,
        and the sum counts as `fit` says of `sample_weight`.
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
        are of the flow and its linear readout, and the score is R2 of what the flow is trained on.
    ensemble_ : Ensemble
        What predicts: the fitted members, and the target they predict.
    encoder_ : ColumnEncoder
        What becomes of the columns of X: see `skcode.columns`.
    solver_ : Solver
        The solver that was used.
    classes_ : ndarray of shape (n_classes,)
        The classes; label indices for multilabel targets.
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
    >>> from sklearn.datasets import make_moons
    >>> from skcode import ControlledODEClassifier
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> model = ControlledODEClassifier(random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    _parameter_constraints = {
        **SupervisedBase._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
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
        class_weight: dict[Any, float] | str | None = None,
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
        self.n_members = n_members
        self.ramps = ramps
        self.value_effects = value_effects
        self.class_weight = class_weight

    def _check_Xy(self, X: ArrayLike, y: ArrayLike, reset: bool) -> tuple[Array, Array]:
        checked, targets = check_table(
            self, X, y, reset=reset, multi_output=True, dtype=INPUT_TYPES
        )
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        check_classification_targets(targets)
        if targets.ndim == 2 and not type_of_target(targets).startswith("multilabel"):
            raise ValueError("Multi-output targets of several classes each are not supported.")
        return checked, targets

    def _learn_target(self, y: Array, weight: FloatArray) -> ClassTarget:
        return MultilabelTarget(y.shape[1]) if y.ndim == 2 else ClassificationTarget.learn(y)

    def _class_factors(
        self, target: Target, targets: Array, weight: FloatArray
    ) -> FloatArray | None:
        if self.class_weight is None:
            return None
        if not isinstance(target, ClassificationTarget):
            raise ValueError("class_weight is not defined for multilabel targets.")
        if self.class_weight == "balanced":
            return target.balancing_factors(targets, weight)
        # the parameter is checked: what else there is, is a dict
        assert isinstance(self.class_weight, dict)
        classes = target.classes.tolist()
        unknown = set(self.class_weight) - set(classes)
        if unknown:
            names = sorted(unknown, key=str)
            raise ValueError(f"class_weight names classes that are not in y: {names}.")
        factors = [self.class_weight.get(label, 1.0) for label in classes]
        if not all(isinstance(f, Real) and 0 < float(f) < np.inf for f in factors):
            raise ValueError(f"class_weight must hold positive numbers; got {self.class_weight}.")
        return np.array(factors, dtype=float)[target.strata(targets)]

    @property
    def _target(self) -> ClassTarget:
        target = self.ensemble_.target
        assert isinstance(target, ClassTarget)
        return target

    @property
    def classes_(self) -> Array:
        """Class labels, or label indices for multilabel targets, in the order of the columns."""
        return self._target.classes

    # -- prediction ------------------------------------------------------------------------------

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Scores before the logistic or softmax function.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            One score for two classes (positive for ``classes_[1]``), else one for each class. An
            ensemble's are the logits, or logarithms, of its mean probabilities.
        """
        return self._mean(X, self._target_once_fitted.mean_decision)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probabilities of the classes, or of each label for multilabel targets.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        return self._mean(X, self._target_once_fitted.mean_probabilities)

    @property
    def _target_once_fitted(self) -> ClassTarget:
        check_is_fitted(self)
        return self._target

    def _mean(self, X: ArrayLike, mean_of: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """The mean over members; where a value is new, over the effects that it may have as well.

        With the effect zero in its place it would be as sure as if the effect were known.
        """
        table = self._check_table(X)
        mean = mean_of(self.ensemble_.scores(self.encoder_.encode(table), self.n_jobs))
        new = self.encoder_.is_new(table)
        if new.any():
            ways = self.encoder_.possible(table[new])
            scores = [self.ensemble_.scores(each, self.n_jobs) for each in ways]
            mean[new] = mean_of(np.concatenate(scores))
        return mean

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Logarithms of `predict_proba`.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities.
        """
        probabilities = self.predict_proba(X)
        return self._target.log(probabilities)

    def predict(self, X: ArrayLike) -> Array:
        """Predict classes, or a 0-1 indicator matrix for multilabel targets.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The most probable class of each sample.

        Raises
        ------
        ValueError
            If the flow explodes for a sample, which unbounded fields may do far from the data.
        """
        probabilities = self.predict_proba(X)
        return self._target.decode(probabilities)

    @available_if(streams)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """One pass over a batch of rows.

        The first batch says what becomes of the columns (a level that it lacks is as rare levels
        are). The first rows set the scales and draw the fields, and their number decides depth and
        members where ``n_intervals`` and ``n_members`` are None. Rows are held until there are 64
        distinct ones, and the model is drawn anew from all of them at each call until then. A
        column that was constant is read from when it varies. Rates are constant or "invscaling":
        "cosine" and "adaptive" need the whole of a training and are constant here. After a `fit`
        with a Gaussian process its flows go on, and a linear readout takes its place: a warning
        says so.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Targets.
        classes : array-like of shape (n_classes,) or None
            All classes of all batches; needed by the first call unless its y holds them all.
        sample_weight : array-like of shape (n_samples,) or None
            Weights.

        Returns
        -------
        self
            The updated estimator.

        Raises
        ------
        ValueError
            If the classes differ from those of the first call, or y holds others; with
            ``class_weight="balanced"``. With early stopping, or a Gaussian process as `readout`,
            there is no `partial_fit`.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does not see all "
                "rows: pass the dict that sklearn.utils.class_weight.compute_class_weight gives."
            )
        target: ClassTarget | None = None
        if classes is not None:
            multilabel = type_of_target(y).startswith("multilabel")
            known = np.asarray(classes)
            target = (
                MultilabelTarget(len(known)) if multilabel else ClassificationTarget.learn(known)
            )
            if hasattr(self, "ensemble_") and not np.array_equal(target.classes, self.classes_):
                raise ValueError("classes differ from those of the first call of partial_fit.")
        self._partial_fit(X, y, sample_weight, target)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.poor_score = scores_poorly(self.vector_fields, self.readout)
        return tags
