"""Images seen several times over: shifted copies to learn from, shifted views to vote."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._images import check_image_shape
from skcode.utils._sklearn import HasMethods, Interval, check_sample_weight, fit_context
from skcode.utils._typing import Array, FloatArray


class ShiftedImagesClassifier(DocLinkMixin, ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""A classifier of images that does not mind where in the image its object stands.

    .. math:: P(k \mid x) = \frac{1}{|S|} \sum_{s \in S} P_{\mathrm{estimator}}(k \mid s x), \qquad
        S = \{\text{none, up, down, left, right}\}

    The estimator learns from the images and from `n_copies` shifted copies of each, drawn at random
    among those of S [1]_. What it says of an image is the mean of what it says of all five views.
    Nothing more is trained than without; there are more rows to train on, so that as many steps
    are fewer passes.

    Parameters
    ----------
    estimator : classifier
        Has `predict_proba`; often a Pipeline that begins with `PatchFilters`.
    image_shape : tuple of int
        (h, w) or (h, w, c): a row of X is an image, row by row, the colours of a pixel together.
    n_copies : int
        Shifted copies of each image to learn from. With 0 the views vote, and no more.
    reach : int
        By how many pixels images are shifted. Beyond the edge stand the pixels of the edge.
    random_state : int, RandomState instance or None
        Determines the shifts of the copies.

    Attributes
    ----------
    estimator_ : classifier
        The fitted estimator.
    classes_ : ndarray of shape (K,)
        The classes.
    moves_ : list of (int, int)
        The shifts of S, as rows down and columns to the right.
    pixel_shape_ : tuple of int
        (h, w, c): the shape of the images of the fit.
    n_features_in_ : int
        Number of pixels, colours apart.
    feature_names_in_ : ndarray of shape (p,)
        Names of the columns of X, where they are strings.

    References
    ----------
    .. [1] P. Y. Simard, D. Steinkraus, J. C. Platt, "Best practices for convolutional neural
       networks applied to visual document analysis", ICDAR 2003.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skcode.images import ShiftedImagesClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = ShiftedImagesClassifier(
    ...     LogisticRegression(max_iter=50, tol=0.1), (8, 8), n_copies=1, random_state=0
    ... )
    >>> model.fit(X[:200], y[:200]).predict_proba(X[200:]).shape
    (1597, 10)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "image_shape": ["array-like"],
        "n_copies": [Interval(Integral, 0, None, closed="left")],
        "reach": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        image_shape: tuple[int, ...],
        n_copies: int = 2,
        reach: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.image_shape = image_shape
        self.n_copies = n_copies
        self.reach = reach
        self.random_state = random_state

    # the estimator checks its own parameters when it is fitted
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from images and shifted copies of them.

        Parameters
        ----------
        X : array-like of shape (n, h * w * c)
            Images.
        y : array-like of shape (n,)
            Their classes.
        sample_weight : array-like of shape (n,) or None
            Weights of the images, each of whose copies has the same; handed to the estimator, or
            to the last step of a Pipeline, if there are any.

        Returns
        -------
        ShiftedImagesClassifier
            Itself.
        """
        images, targets = validate_data(self, X, y, dtype="numeric", ensure_all_finite=True)
        check_classification_targets(targets)
        shape = self._check(images.shape[1])
        rng = check_random_state(self.random_state)
        self.pixel_shape_, self.moves_ = shape, _moves(self.reach)
        moves = self.moves_[1:]
        times = 1 + self.n_copies
        weights = {}
        if sample_weight is not None:
            name = "sample_weight"
            # without metadata routing a Pipeline takes them for a step that is named
            if isinstance(self.estimator, Pipeline) and not get_config()["enable_metadata_routing"]:
                name = f"{self.estimator.steps[-1][0]}__{name}"
            weights = {name: np.tile(check_sample_weight(sample_weight, images), times)}
        rows = np.empty((times, *images.shape), images.dtype)
        rows[0] = images
        for copies in rows[1:]:
            which = rng.randint(len(moves), size=len(images))
            for k, move in enumerate(moves):
                copies[which == k] = shifted(images[which == k], shape, move)
        self.estimator_ = clone(self.estimator)
        self.estimator_.fit(rows.reshape(-1, images.shape[1]), np.tile(targets, times), **weights)
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probabilities of the classes, the mean over five views of each image.

        Parameters
        ----------
        X : array-like of shape (n, h * w * c)
            Images.

        Returns
        -------
        ndarray of shape (n, K)
            Probabilities, the classes in the order of `classes_`.
        """
        check_is_fitted(self, "estimator_")
        images: Array = validate_data(self, X, reset=False, dtype="numeric", ensure_all_finite=True)
        views = (shifted(images, self.pixel_shape_, move) for move in self.moves_)
        total: FloatArray = sum(self.estimator_.predict_proba(view) for view in views)
        return total / len(self.moves_)

    def predict(self, X: ArrayLike) -> Array:
        """The most probable class of each image.

        Parameters
        ----------
        X : array-like of shape (n, h * w * c)
            Images.

        Returns
        -------
        ndarray of shape (n,)
            Classes.
        """
        probabilities = self.predict_proba(X)
        classes: Array = self.classes_[probabilities.argmax(axis=1)]
        return classes

    def _check(self, n_inputs: int) -> tuple[int, int, int]:
        shape = check_image_shape(self.image_shape, n_inputs)
        if self.reach >= min(shape[:2]):
            raise ValueError(
                f"reach={self.reach} must be less than {min(shape[:2])}, the side of the image."
            )
        return shape


def _moves(reach: int) -> list[tuple[int, int]]:
    """None, then up, down, left and right, as (rows, columns)."""
    return [(0, 0), (-reach, 0), (reach, 0), (0, -reach), (0, reach)]


def shifted(images: Array, shape: tuple[int, int, int], move: tuple[int, int]) -> Array:
    """Images (n, p) with pixels moved down and to the right; at the edge they are repeated."""
    (h, w, _), (down, right) = shape, move
    rows = np.clip(np.arange(h) - down, 0, h - 1)
    columns = np.clip(np.arange(w) - right, 0, w - 1)
    return images.reshape(-1, *shape)[:, rows[:, None], columns].reshape(images.shape)
