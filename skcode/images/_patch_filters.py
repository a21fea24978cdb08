"""Filters that are differences of patches of the data, whitened: random, frozen, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skcode.utils._blas import single_threaded_blas
from skcode.utils._blocks import block_slices
from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._images import check_image_shape, window_means, windows
from skcode.utils._sklearn import Interval, fit_context
from skcode.utils._typing import Array, FloatArray

#: images from which filters and their scales are taken
_REFERENCE_IMAGES = 1024
#: places of those images from which the covariance of patches is taken
_REFERENCE_PATCHES = 50_000
#: a patch is flat if its pixels deviate by less than this share of the deviation of all pixels
_FLAT = 0.3
#: images in a block, and bytes of the responses of a group of filters to it: they stay in a cache
_BLOCK = 32
_GROUP_BYTES = 2 * 2**20
_LARGEST_BYTE = 255


class PatchFilters(DocLinkMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Images as smaller images, whose colours are the pooled responses of frozen filters.

    .. math:: T_j(x) = 255 \min\Bigl(\frac{P\,\max(a_j * x + b_j, 0)}{l_j}, 1\Bigr)^{\rho_j}, \qquad
        a_j \propto (\Sigma + \lambda \bar\sigma^2 I)^{-1} (p_j - q_j)

    Filter j is the difference of two random patches :math:`p_j, q_j` of the images, whitened by the
    covariance :math:`\Sigma` of all patches (:math:`\bar\sigma^2` is its mean diagonal), so that it
    tells one patch from the other by what is rare in them [1]_. No labels are used, and nothing is
    trained. Each filter is moved over all places of the image, with the mean pixel beyond the edge,
    and has responses of unit variance; P averages the positive ones over `pooling` by `pooling`
    windows. Means of few strong responses are many times those of weak ones; the root,
    :math:`\rho_j = 1/2`, brings both to one scale [2]_, which helps where images differ in
    contrast, and raises noise where most of an image is empty.

    The largest mean of a filter among the images of the fit, :math:`l_j`, stands at the largest
    byte, and so do those beyond it. Rounded to bytes a large set of images stays in memory: of a
    grid of 7 by 7 windows and 64 filters 3 kB an image.

    Parameters
    ----------
    image_shape : tuple of int
        (h, w) or (h, w, c): a row of X is an image, row by row, the colours of a pixel together.
    n_filters : int
        The number S of filters.
    kernel_size : int
        Side of the filters in pixels, odd.
    pooling : int
        Windows across and down.
    regularization : float
        The number :math:`\lambda`: large values make filters smooth, small ones sharp.
    bias_scale : float
        Standard deviation of :math:`b_j`.
    exponent : float or sequence of float
        The powers :math:`\rho_j`, which filters have in turn; 1 leaves the means as they are.
    n_jobs : int or None
        Threads, as in joblib.
    random_state : int, RandomState instance or None
        Determines the patches and the biases.

    Attributes
    ----------
    filters_ : ndarray of shape (S, k * k * c + 1)
        The filters on pixels as they are, the bias in the last column.
    padding_ : float
        The pixel that stands beyond the edge: the mean of all.
    largest_ : ndarray of shape (S,)
        The largest means :math:`l_j`; 1 for a filter that never responds.
    exponents_ : ndarray of shape (S,)
        The power :math:`\rho_j` of each filter.
    pixel_shape_ : tuple of int
        (h, w, c): the shape of the images of the fit.
    image_shape_ : tuple of int
        (pooling, pooling, S): the shape of what `transform` returns.
    n_features_in_ : int
        Number of pixels, colours apart.
    feature_names_in_ : ndarray of shape (p,)
        Names of the columns of X, where they are strings.

    References
    ----------
    .. [1] A. Coates, H. Lee, A. Y. Ng, "An analysis of single-layer networks in unsupervised
       feature learning", AISTATS 2011.
    .. [2] F. Perronnin, J. Sánchez, T. Mensink, "Improving the Fisher kernel for large-scale image
       classification", ECCV 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skcode.images import PatchFilters
    >>> X = load_digits().data
    >>> filters = PatchFilters((8, 8), n_filters=6, kernel_size=3, pooling=4, random_state=0)
    >>> Z = filters.fit_transform(X)
    >>> Z.shape, Z.dtype, filters.image_shape_
    ((1797, 96), dtype('uint8'), (4, 4, 6))
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "image_shape": ["array-like"],
        "n_filters": [Interval(Integral, 1, None, closed="left")],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "pooling": [Interval(Integral, 1, None, closed="left")],
        "regularization": [Interval(Real, 0, None, closed="neither")],
        "bias_scale": [Interval(Real, 0, None, closed="left")],
        "exponent": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        image_shape: tuple[int, ...],
        n_filters: int = 64,
        kernel_size: int = 5,
        pooling: int = 7,
        regularization: float = 0.1,
        bias_scale: float = 0.3,
        exponent: float | Sequence[float] = 1.0,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.image_shape = image_shape
        self.n_filters = n_filters
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.regularization = regularization
        self.bias_scale = bias_scale
        self.exponent = exponent
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Take the filters from images.

        Parameters
        ----------
        X : array-like of shape (n, h * w * c)
            Images.
        y : None
            Ignored.

        Returns
        -------
        PatchFilters
            Itself.
        """
        images: Array = validate_data(self, X, dtype="numeric", ensure_all_finite=True)
        shape = self._check(images.shape[1])
        rng = check_random_state(self.random_state)
        n = len(images)
        rows = np.sort(rng.choice(n, min(n, _REFERENCE_IMAGES), replace=False))
        reference = images[rows].astype(np.float64)
        self.padding_ = float(reference.mean())
        # images that never change have no scale: one does for them
        deviation = float(reference.std()) or 1.0
        patches = self._some_patches((reference - self.padding_) / deviation, shape, rng)
        A = self._whitened_differences(patches, rng)
        spread = np.sqrt(np.mean((patches @ A.T) ** 2, axis=0))
        A /= np.where(spread > 0, spread, 1.0)[:, None] * deviation
        # the filters take pixels as they are: the mean pixel moves the bias
        bias = rng.standard_normal(self.n_filters) * self.bias_scale
        bias -= self.padding_ * A.sum(axis=1)
        self.filters_ = np.column_stack([A, bias]).astype(np.float32)
        self.pixel_shape_ = shape
        self.image_shape_ = (self.pooling, self.pooling, self.n_filters)
        # responses are in single precision, in which larger powers are infinite
        powers = np.minimum(np.asarray(self.exponent, np.float64), np.finfo(np.float32).max)
        self.exponents_ = np.resize(powers, self.n_filters)
        largest = np.zeros(self.n_filters, np.float32)
        for block in block_slices(len(rows), _BLOCK):
            largest = np.maximum(largest, self._responses(reference[block]).max(axis=(1, 2)))
        # a filter that never responds stays at zero
        self.largest_ = np.where(largest > 0, largest, np.float32(1))
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.uint8]:
        """Pooled responses of images, as bytes.

        Parameters
        ----------
        X : array-like of shape (n, h * w * c)
            Images.

        Returns
        -------
        ndarray of shape (n, pooling * pooling * S)
            Images of shape `image_shape_`, row by row, the colours of a pixel together.
        """
        check_is_fitted(self)
        images: Array = validate_data(self, X, reset=False, dtype="numeric", ensure_all_finite=True)
        n, (across, down, n_filters) = len(images), self.image_shape_
        out = np.empty((n, across * down, n_filters), np.uint8)
        # filters that have a power, by powers, of which there are few
        powers = [(rho, self.exponents_ == rho) for rho in np.unique(self.exponents_).tolist()]

        def fill(block: slice) -> None:
            # responses beyond those of the fit stand at the largest byte, whatever their power
            shares = np.minimum(self._responses(images[block]) / self.largest_[:, None, None], 1)
            for rho, own in powers:
                if rho != 1:
                    # a number of Python's own: NumPy then takes the root by a faster way
                    shares[own] **= rho
            shares *= _LARGEST_BYTE
            out[block] = np.rint(shares).astype(np.uint8).transpose(2, 1, 0)

        blocks = block_slices(n, _BLOCK)
        with single_threaded_blas():
            Parallel(n_jobs=self.n_jobs, require="sharedmem")(delayed(fill)(b) for b in blocks)
        return out.reshape(n, -1)

    @property
    def pooling_matrix_(self) -> FloatArray:
        """The means P over windows, (windows, places)."""
        check_is_fitted(self)
        return window_means(self.pixel_shape_[:2], self.image_shape_[0])

    @property
    def kernel_size_(self) -> int:
        """Side of the filters of the fit."""
        check_is_fitted(self)
        return isqrt((self.filters_.shape[1] - 1) // self.pixel_shape_[2])

    @property
    def _n_features_out(self) -> int:
        return prod(self.image_shape_)

    def _check(self, n_inputs: int) -> tuple[int, int, int]:
        shape = check_image_shape(self.image_shape, n_inputs)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} must be odd.")
        if self.kernel_size > min(shape[:2]) or self.pooling > min(shape[:2]):
            raise ValueError(
                f"kernel_size={self.kernel_size} and pooling={self.pooling} must be at most "
                f"{min(shape[:2])}, the side of the image."
            )
        powers = np.atleast_1d(self.exponent)
        numbers = powers.dtype.kind in "iuf" and powers.ndim == 1 and powers.size
        if not numbers or not np.all((powers > 0) & np.isfinite(powers)):
            raise ValueError(f"exponent={self.exponent} must be one positive number, or several.")
        return shape

    def _some_patches(
        self, z: FloatArray, shape: tuple[int, int, int], rng: np.random.RandomState
    ) -> FloatArray:
        """Random patches (n, k k c) of scaled images, from random places inside."""
        k, (h, w, _) = self.kernel_size, shape
        images = z.reshape(-1, *shape)
        index = rng.randint(len(images), size=_REFERENCE_PATCHES)
        top, left = (rng.randint(side - k + 1, size=_REFERENCE_PATCHES) for side in (h, w))
        reach = np.arange(k)
        patches: FloatArray = images[
            index[:, None, None],
            top[:, None, None] + reach[:, None],
            left[:, None, None] + reach,
        ]
        return patches.reshape(len(patches), -1)

    def _whitened_differences(self, patches: FloatArray, rng: np.random.RandomState) -> FloatArray:
        """Filters (S, k k c)."""
        covariance = np.cov(patches.T).reshape(patches.shape[1], -1)
        level = float(np.trace(covariance)) / len(covariance) or 1.0
        covariance[np.diag_indices_from(covariance)] += self.regularization * level
        telling = patches[patches.std(axis=1) > _FLAT]
        telling = telling if len(telling) > 1 else patches
        first, second = rng.randint(len(telling), size=(2, self.n_filters))
        differences: FloatArray = np.linalg.solve(covariance, (telling[first] - telling[second]).T)
        return differences.T

    def _responses(self, X: Array) -> FloatArray:
        """Pooled positive responses (S, windows, n) of images (n, p), in float32."""
        (h, w, c), k, n = self.pixel_shape_, self.kernel_size_, len(X)
        n_filters, pooling = len(self.filters_), self.image_shape_[0]
        reach = k // 2
        padded = np.full((h + 2 * reach, w + 2 * reach, c, n), self.padding_, np.float32)
        padded[reach : reach + h, reach : reach + w] = X.T.reshape(h, w, c, n)
        patches = np.ones((k * k * c + 1, h, w, n), np.float32)
        for i in range(k):
            for j in range(k):
                first = (i * k + j) * c
                patches[first : first + c] = padded[i : i + h, j : j + w].transpose(2, 0, 1, 3)
        pooled = np.empty((n_filters, pooling, pooling, n), np.float32)
        size = max(1, _GROUP_BYTES // (4 * h * w * n))
        for first in range(0, n_filters, size):
            group = slice(first, first + size)
            z = self.filters_[group] @ patches.reshape(len(patches), -1)
            np.maximum(z, 0, out=z)
            places = z.reshape(-1, h, w, n)
            for i, rows in enumerate(windows(pooling, h)):
                of_rows = places[:, rows].mean(axis=1)
                for j, columns in enumerate(windows(pooling, w)):
                    pooled[group, i, j] = of_rows[:, columns].mean(axis=1)
        return pooled.reshape(n_filters, -1, n)
