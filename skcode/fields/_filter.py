"""Filter fields: one random neuron at all places of an image, pooled into the augmented states."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real

import autograd.numpy as anp
import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from skcode.fields._activations import ACTIVATIONS, Activation
from skcode.fields._drawn import DrawnFields, FieldKernel
from skcode.fields._family import FieldFamily
from skcode.utils._images import check_image_shape, position_grid, valid_patches, window_means
from skcode.utils._sklearn import Interval, StrOptions
from skcode.utils._typing import FloatArray, IntArray, Traced

#: bytes that the responses of one group of filters take: they stay in a cache of the second level,
#: and a group is large enough that a product of matrices is efficient
_GROUP_BYTES = 2 * 2**20
#: images in a block while the means and sizes of fields are measured
_NORMALISING_BLOCK = 64
#: deviation up to which a filter counts as one that never responds, in units of the activation.
#: Divided by less, rounding would become a field; far more leaves faint filters as they are
_SILENT = 1e-6


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

    of_images = True
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
    ) -> DrawnFilter:
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
        # 64 images hold thousands of patches: enough for one variance a filter
        deviation = np.sqrt(_second_moment(A, reference[:64, reads]))
        A /= np.where(deviation > 0, deviation, 1.0)[:, None]
        means = window_means(position_grid(shape, high, self.stride), self.pooling)
        fields = DrawnFilter(
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


class DrawnFilter(DrawnFields):
    """Drawn filter fields.

    Parameters
    ----------
    A : ndarray of shape (d, width + 1)
        The filters, the bias in the last column.
    activation : Activation
        The function sigma.
    reads : ndarray of shape (width, positions)
        Pixels that the patch at each position reads.
    means : ndarray of shape (windows, positions)
        The pooling P.
    shift : ndarray of shape (d, windows)
        The means mu_i.
    gain : ndarray of shape (d,)
        The factors 1 / s_i.
    n_states, n_inputs : int
        The numbers m and p.
    skip_pixels : bool
        Whether the readout reads the augmented states alone.

    Examples
    --------
    >>> from skcode.fields import FilterFields
    >>> family = FilterFields((8, 8), kernel_size=3, pooling=2)
    >>> fields = family.draw(84, n_fields=10, rng=0, n_inputs=64)
    >>> type(fields).__name__, fields.A.shape, fields.n_channels
    ('DrawnFilter', (10, 10), 5)
    """

    def __init__(
        self,
        A: FloatArray,
        activation: Activation,
        reads: IntArray,
        means: FloatArray,
        shift: FloatArray,
        gain: FloatArray,
        n_states: int,
        n_inputs: int,
        skip_pixels: bool,
    ):
        self.A = A
        self.activation = activation
        self.reads = reads
        self.means = means
        self.shift = shift
        self.gain = gain
        self.n_states = n_states
        self.n_inputs = n_inputs
        self.skip_pixels = skip_pixels
        self.n_fields = len(A)
        self.n_windows = len(means)
        self.n_channels = (n_states - n_inputs) // self.n_windows

    def normalised(self, x: FloatArray) -> DrawnFilter:
        """The fields with mean zero in each window and size one, over images x (n, p)."""
        size = _NORMALISING_BLOCK
        kernel = _FilterKernel(self, size, x.dtype)
        total = np.zeros((2, self.n_fields, self.n_windows))
        n_blocks = max(len(x) // size, 1)
        for i in range(n_blocks):
            block = np.take(x, range(size * i, size * (i + 1)), axis=0, mode="wrap").T
            tape = kernel.new_tape()
            kernel.respond(block, tape)
            total += tape.sum(axis=2), (tape**2).sum(axis=2)
        mean, square = total / (size * n_blocks)
        deviation = np.sqrt(np.maximum((square - mean**2).mean(axis=1), 0))
        # a filter that never responds stays as it is
        responds = deviation > _SILENT
        gain = np.where(responds, 1 / np.where(responds, deviation, 1), 1.0)
        return self._with(self.A, self.means, mean, gain)

    def _with(
        self, A: FloatArray, means: FloatArray, shift: FloatArray, gain: FloatArray
    ) -> DrawnFilter:
        """The same fields with other arrays of floats."""
        return DrawnFilter(
            A,
            self.activation,
            self.reads,
            means,
            shift,
            gain,
            self.n_states,
            self.n_inputs,
            self.skip_pixels,
        )

    @property
    def labels(self) -> list[str]:
        return [f"filter[{i}]" for i in range(self.n_fields)]

    @property
    def start_scale(self) -> FloatArray:
        # channels of size one, however many fields write to them
        return np.full(self.n_fields, np.sqrt(self.n_channels / self.n_fields))

    @property
    def tape_width(self) -> int:
        return self.n_fields * self.n_windows

    @property
    def n_still(self) -> int:
        return self.n_inputs

    @property
    def observation(self) -> sparse.csr_array | None:
        if not self.skip_pixels:
            return None
        return sparse.csr_array(sparse.eye(self.n_states, format="csr")[self.n_inputs :])

    def value(self, x: Traced) -> Traced:
        n, d = len(x), self.n_fields
        patches = x[:, self.reads]
        z = anp.einsum("ij,njl->nil", self.A[:, :-1], patches) + self.A[:, -1:]
        pooled = anp.dot(self.activation.value(z), self.means.T)
        pooled = (pooled - self.shift) * self.gain[:, None]
        channel = np.eye(self.n_channels)[np.arange(d) % self.n_channels].astype(self.A.dtype)
        written = anp.einsum("nig,ic->nicg", pooled, channel)
        pixels = anp.zeros((n, d, self.n_inputs), self.A.dtype)
        return anp.concatenate([pixels, anp.reshape(written, (n, d, -1))], axis=2)

    def astype(self, dtype: DTypeLike) -> DrawnFilter:
        return self._with(
            self.A.astype(dtype),
            self.means.astype(dtype),
            self.shift.astype(dtype),
            self.gain.astype(dtype),
        )

    def bind(self, u: FloatArray) -> FloatArray:
        return u

    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> _FilterKernel:
        return _FilterKernel(self, n, dtype)


class _FilterKernel(FieldKernel[FloatArray, FloatArray]):
    """A group of filters at a time: responses at all places in one GEMM, pooled by another.

    The tape holds the pooled responses (d, windows, n), shifted and scaled.
    """

    def __init__(self, fields: DrawnFilter, n: int, dtype: DTypeLike):
        self.fields = fields
        self.n = n
        self.dtype = np.dtype(dtype)
        width, positions = fields.reads.shape
        self.patches = np.ones((width + 1, positions, n), self.dtype)
        size = max(1, _GROUP_BYTES // (positions * n * self.dtype.itemsize))
        self.groups = [
            slice(i, min(i + size, fields.n_fields)) for i in range(0, fields.n_fields, size)
        ]
        self.shape = (min(size, fields.n_fields), positions, n)
        self.responses = np.empty(self.shape, self.dtype)

    def new_tape(self) -> FloatArray:
        return np.empty((self.fields.n_fields, self.fields.n_windows, self.n), self.dtype)

    def respond(self, x: FloatArray, tape: FloatArray) -> None:
        """Pooled responses to images x (at least p, n)."""
        self._read(x)
        for group in self.groups:
            z = self._filter(group, self.patches, self.responses)
            self.fields.activation.forward(z, None)
            self._pool(group, z, tape)
        tape -= self.fields.shift[:, :, None]
        tape *= self.fields.gain[:, None, None]

    def forward(self, bound: FloatArray, x: FloatArray, v: FloatArray, tape: FloatArray) -> None:
        self.respond(x, tape)
        self._write(bound, tape, v)

    def rows(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: FloatArray,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        for k in np.ndindex(p.shape[:-2]):
            for fields, channels, adjoint in self._rounds(p[k]):
                np.einsum("cgn,cgn->cn", tape[fields], adjoint[channels], out=u_rows[k][fields])
            if x_bar is not None:
                self._pull_state(bound, x, p[k], x_bar[k])

    def pushforward(
        self,
        bound: FloatArray,
        x: FloatArray,
        tape: FloatArray,
        dx: FloatArray,
        bound_du: FloatArray,
        dv: FloatArray,
    ) -> None:
        self._read(x)
        patches = np.zeros_like(self.patches)
        np.take(dx, self.fields.reads, axis=0, out=patches[:-1], mode="clip")
        moved = self.new_tape()
        for group in self.groups:
            q = self._filter(group, patches, np.empty(self.shape, self.dtype))
            self._multiply_derivative(group, q)
            self._pool(group, q, moved)
        moved *= (bound * self.fields.gain)[:, None, None]
        moved += bound_du[:, None, None] * tape
        self._write(np.ones_like(bound), moved, dv)

    def _read(self, x: FloatArray) -> None:
        np.take(x, self.fields.reads, axis=0, out=self.patches[:-1], mode="clip")

    def _filter(self, group: slice, patches: FloatArray, out: FloatArray) -> FloatArray:
        """Responses (filters, positions, n) of a group before the activation."""
        out = out[: group.stop - group.start]
        width = len(patches)
        np.matmul(self.fields.A[group], patches.reshape(width, -1), out=out.reshape(len(out), -1))
        return out

    def _pool(self, group: slice, z: FloatArray, tape: FloatArray) -> None:
        np.matmul(self.fields.means, z, out=tape[group])

    def _multiply_derivative(self, group: slice, q: FloatArray) -> None:
        """Multiply q by sigma' of the responses of a group to the patches read last."""
        activation = self.fields.activation
        z = self._filter(group, self.patches, self.responses)
        ds = np.empty_like(z) if activation.keeps_derivative else None
        activation.forward(z, ds)
        q *= activation.derivative(z, ds, np.empty_like(q))

    def _rounds(self, p: FloatArray) -> Iterator[tuple[slice, slice, FloatArray]]:
        """Fields, the channels that they write to, and the adjoint (C, windows, n) of those."""
        d, C = self.fields.n_fields, self.fields.n_channels
        adjoint = p[self.fields.n_inputs :].reshape(C, self.fields.n_windows, self.n)
        for start in range(0, d, C):
            stop = min(start + C, d)
            yield slice(start, stop), slice(0, stop - start), adjoint

    def _write(self, u: FloatArray, pooled: FloatArray, v: FloatArray) -> None:
        v[...] = 0
        for fields, channels, states in self._rounds(v):
            states[channels] += u[fields, None, None] * pooled[fields]

    def _pull_state(
        self, bound: FloatArray, x: FloatArray, p: FloatArray, x_bar: FloatArray
    ) -> None:
        self._read(x)
        fields = self.fields
        weights = bound * fields.gain
        adjoint = p[fields.n_inputs :].reshape(fields.n_channels, fields.n_windows, self.n)
        pulled = np.zeros_like(self.patches[:-1])
        flat = pulled.reshape(len(pulled), -1)
        for group in self.groups:
            channels = np.arange(group.start, group.stop) % fields.n_channels
            q = fields.means.T @ (weights[group, None, None] * adjoint[channels])
            self._multiply_derivative(group, q)
            flat += fields.A[group, :-1].T @ q.reshape(len(q), -1)
        x_bar[...] = 0
        for pixels, part in zip(fields.reads, pulled, strict=True):
            x_bar[pixels] += part
