"""Neural fields with local receptive fields on images."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

from skcode.fields._activations import ACTIVATIONS
from skcode.fields._family import FieldFamily
from skcode.fields._neural import DrawnNeural
from skcode.utils._images import check_image_shape
from skcode.utils._sklearn import Interval, StrOptions
from skcode.utils._typing import FloatArray

#: deviation over the images, in units of scaled pixels, up to which a patch counts as the same in
#: all. Divided by less, rounding would become data; far more leaves faint patches as they are
_SAME = 1e-6


class LocalFields(FieldFamily):
    r"""Random neural fields :math:`V_i(x) = B_i\, \sigma(A_i x + b_i)` that look at patches.

    Every row of :math:`A_i` reads a random patch of the image, of random size and place, and all
    augmented states. What else there is is as in `NeuralFields`.

    Parameters
    ----------
    image_shape : tuple of int
        (h, w) or (h, w, c): the inputs are an image, row by row, the colours of a pixel together.
    patch_size : tuple of int
        Smallest and largest side of a patch, in pixels; the sides are independent and uniform.
    activation : {"relu", "tanh", "gelu", "softplus", "sin", "identity"}
        The function :math:`\sigma`.
    rank : int or None
        The rank r. None stands for the full rank of the lecture: :math:`A_i` is square and there is
        no :math:`B_i`.
    scale : float
        Standard deviation of :math:`A_i x`, over the data where there is data, else for inputs of
        unit variance.
    bias_scale : float
        Standard deviation of :math:`b_i`.

    References
    ----------
    .. [1] M. D. McDonnell, M. D. Tissera, T. Vladusich, A. van Schaik, J. Tapson, "Fast, simple and
       accurate handwritten digit classification by training shallow neural network classifiers with
       the extreme learning machine algorithm", PLoS ONE 10(8), 2015.

    Examples
    --------
    >>> from skcode.fields import LocalFields
    >>> fields = LocalFields((8, 8), patch_size=(2, 3)).draw(n_states=64, n_fields=5, rng=0)
    >>> bool((fields.A[:, :64] != 0).sum(axis=1).max() <= 9)
    True
    """

    of_images = True

    _parameter_constraints = {
        "image_shape": ["array-like"],
        "patch_size": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "rank": [Interval(Integral, 1, None, closed="left"), None],
        "scale": [Interval(Real, 0, None, closed="left")],
        "bias_scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        image_shape: tuple[int, ...],
        patch_size: tuple[int, int] = (3, 12),
        activation: str = "relu",
        rank: int | None = 1,
        scale: float = 1.0,
        bias_scale: float = 1.0,
    ):
        self.image_shape = image_shape
        self.patch_size = patch_size
        self.activation = activation
        self.rank = rank
        self.scale = scale
        self.bias_scale = bias_scale

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnNeural:
        shape = check_image_shape(self.image_shape, n_inputs)
        low, high = self.patch_size
        if not 1 <= low <= high <= min(shape[:2]):
            raise ValueError(
                f"patch_size={self.patch_size} must lie between 1 and {min(shape[:2])}, the side "
                "of the image."
            )
        m, d, r = n_states, n_fields, self.rank or n_states
        A = np.zeros((d * r, m + 1))
        for row in A:
            sides = rng.integers(low, high + 1, 2)
            top, left = (rng.integers(0, shape[k] - sides[k] + 1) for k in (0, 1))
            patch = row[:n_inputs].reshape(shape)[top : top + sides[0], left : left + sides[1]]
            patch[...] = rng.standard_normal(patch.shape) / np.sqrt(patch.size)
        if reference is not None:
            deviation = (reference @ A[:, :n_inputs].T).std(axis=0)
            A /= np.where(deviation > _SAME, deviation, 1.0)[:, None]
        hidden = rng.standard_normal((d * r, m - n_inputs))
        A[:, n_inputs:m] = hidden / np.sqrt(max(m - n_inputs, 1))
        A[:, :m] *= self.scale
        A[:, m] = rng.standard_normal(d * r) * self.bias_scale
        B = None if self.rank is None else rng.standard_normal((m, d * r)) / np.sqrt(r * d)
        return DrawnNeural(A, B, ACTIVATIONS[self.activation], d)
