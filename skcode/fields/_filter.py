"""Filter fields: one random neuron at all places of an image, pooled into the augmented states."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skcode.fields._activations import ACTIVATIONS
from skcode.fields._family import FieldFamily
from skcode.fields._filter_drawn import DrawnFilters
from skcode.fields._image import check_image_shape, position_grid, valid_patches, window_means
from skcode.utils._typing import FloatArray


class FilterFields(FieldFamily):
    r"""Random filters of an image, pooled.

    .. math:: V_i(x) = e_{c(i)} \otimes (P \sigma(a_i * x + b_i) - \mu_i) / s_i

    The filter :math:`a_i`, a small random image, is moved over all places of the image; P averages
    the responses over `pooling` by `pooling` windows. The augmented states are channels of such
    windows; field i writes to channel c(i), the channels in turn. A channel that several fields
    write to holds a mixture of filters with trained weights, the controls.

    The filters are frozen. With data they are normalised by it: every filter responds with unit
    variance, and every field has mean zero in each window (:math:`\mu_i`) and size one
    (:math:`s_i`).

    Parameters
    ----------
    image_shape : tuple of int
        (h, w) or (h, w, c): the inputs are an image, row by row, the colours of a pixel together.
    kernel_size : int or tuple of int
        Side of the filters in pixels, or the smallest and the largest side.
    stride : int
        Step between places, in pixels.
    pooling : int
        Windows across and down.
    activation : {"relu", "tanh", "gelu", "softplus", "sin", "identity"}
        The function :math:`\sigma`.
    bias_scale : float
        Standard deviation of :math:`b_i`.
    skip_pixels : bool
        Whether the readout reads the augmented states alone.

    References
    ----------
    .. [1] A. Coates, H. Lee, A. Y. Ng, "An analysis of single-layer networks in unsupervised
       feature learning", AISTATS 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import FilterFields
    >>> family = FilterFields(image_shape=(8, 8), kernel_size=3, pooling=2)
    >>> m = family.n_states(n_channels=5)
    >>> m
    84
    >>> fields = family.draw(m, n_fields=10, rng=0, n_inputs=64)
    >>> fields.value(np.ones((3, m))).shape
    (3, 10, 84)
    """

    _parameter_constraints = {
        "image_shape": ["array-like"],
        "kernel_size": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "stride": [Interval(Integral, 1, None, closed="left")],
        "pooling": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "bias_scale": [Interval(Real, 0, None, closed="left")],
        "skip_pixels": ["boolean"],
    }

    def __init__(
        self,
        image_shape: tuple[int, ...],
        kernel_size: int | tuple[int, int] = 7,
        stride: int = 1,
        pooling: int = 4,
        activation: str = "relu",
        bias_scale: float = 0.3,
        skip_pixels: bool = True,
    ):
        self.image_shape = image_shape
        self.kernel_size = kernel_size
        self.stride = stride
        self.pooling = pooling
        self.activation = activation
        self.bias_scale = bias_scale
        self.skip_pixels = skip_pixels

    def n_states(self, n_channels: int) -> int:
        """Dimension m of the state with this number of channels."""
        return int(np.prod(self.image_shape)) + n_channels * self.pooling**2

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnFilters:
        shape = check_image_shape(self.image_shape, n_inputs)
        low, high = self._sizes(shape)
        n_channels, rest = divmod(n_states - n_inputs, self.pooling**2)
        if rest or not n_channels:
            raise ValueError(
                f"n_states={n_states} must be {n_inputs} pixels plus a multiple of the "
                f"{self.pooling**2} windows."
            )
        if n_fields < n_channels:
            raise ValueError(
                f"n_fields={n_fields} must be at least the number of channels, {n_channels}."
            )
        filters = np.zeros((n_fields, high, high, shape[2]))
        for filter in filters:
            size = rng.integers(low, high + 1)
            top, left = rng.integers(0, high - size + 1, 2)
            filter[top : top + size, left : left + size] = rng.standard_normal(
                (size, size, shape[2])
            )
        A = filters.reshape(n_fields, -1)
        A /= np.linalg.norm(A, axis=1, keepdims=True)
        b = rng.standard_normal((n_fields, 1)) * self.bias_scale
        reads = valid_patches(shape, high, self.stride)
        if reference is None:
            reference = rng.standard_normal((256, n_inputs))
        # a few images have patches enough
        deviation = np.sqrt(_second_moment(A, reference[:64, reads]))
        A /= np.where(deviation > 0, deviation, 1.0)[:, None]
        means = window_means(position_grid(shape, high, self.stride), self.pooling)
        fields = DrawnFilters(
            np.hstack([A, b]),
            ACTIVATIONS[self.activation],
            reads,
            means,
            np.zeros((n_fields, self.pooling**2)),
            np.ones(n_fields),
            n_states,
            n_inputs,
            self.skip_pixels,
        )
        return fields.normalised(reference)

    def _sizes(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Smallest and largest side of a filter, checked against the image."""
        low, high = np.broadcast_to(self.kernel_size, 2)
        if not 1 <= low <= high <= min(shape[:2]):
            raise ValueError(
                f"kernel_size={self.kernel_size} must lie between 1 and {min(shape[:2])}, the "
                "side of the image."
            )
        if min(position_grid(shape, high, self.stride)) < self.pooling:
            raise ValueError(
                f"pooling={self.pooling} needs as many places each way: lower kernel_size or "
                "stride."
            )
        return int(low), int(high)


def _second_moment(A: FloatArray, patches: FloatArray) -> FloatArray:
    """Mean of (A patch)^2 for each row of A; patches (n, width, positions)."""
    moment = np.tensordot(patches, patches, axes=((0, 2), (0, 2)))
    moment /= len(patches) * patches.shape[2]
    mean: FloatArray = np.einsum("ij,ij->i", A @ moment, A)
    return mean
