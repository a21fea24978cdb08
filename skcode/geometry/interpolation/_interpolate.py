"""N-point interpolation: controls that steer all inputs to their outputs at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist

from skcode.fields import DrawnFields, FunctionFields
from skcode.geometry._checks import check_count, check_tolerance
from skcode.geometry.brackets import FieldsLike, drawn_fields, vector_fields
from skcode.geometry.interpolation._batched_families import batched_fields
from skcode.geometry.interpolation._batched_fields import BatchedFields
from skcode.geometry.interpolation._chain import Setting, chain, easiest_path
from skcode.geometry.interpolation._continuation import Report, Segment, follow
from skcode.geometry.interpolation._refinement import Refinement
from skcode.geometry.interpolation._tuning import ATTEMPTS, INTERVALS, NEWTON
from skcode.utils._memory import keep_freed_memory
from skcode.utils._random import RandomSource, as_generator
from skcode.utils._typing import FloatArray


@dataclass(frozen=True)
class InterpolationResult:
    """What `interpolate` found.

    Attributes
    ----------
    controls : ndarray of shape (n_intervals, n_fields)
        Piecewise constant controls on equal intervals of [0, 1].
    scale : float
        lambda of the displacement readout; 1 with the identity.
    residual : ndarray of shape (N, m)
        Prediction minus Y, for the solution of the ODE (converged in the step size).
    success : bool
        Whether every entry of the residual is at most tol.
    message : str
        What was reached, and what limits it where it fell short.
    n_iter : int
        Newton steps, those of failed attempts included.
    n_loops : int
        Loops that were to carry points, new ones and those that were used again.
    n_steps : int
        Steps of order 8, in the interval with the most, at which the residual was computed; with
        neural fields as many as would have been needed without collocation.
    condition : float
        Condition number of the last linearisation.

    Examples
    --------
    >>> from skcode.fields import LinearFields
    >>> from skcode.geometry import interpolate
    >>> fields = LinearFields().draw(n_states=2, n_fields=4, rng=0)
    >>> result = interpolate(fields, [[1.0, 0.0]], [[0.0, 1.0]], tol=1e-8)
    >>> result.success, result.error <= 1e-8
    (True, True)
    """

    controls: FloatArray
    scale: float
    residual: FloatArray
    success: bool
    message: str
    n_iter: int
    n_loops: int
    n_steps: int
    condition: float

    @property
    def error(self) -> float:
        """The largest entry of the residual."""
        return float(np.max(abs(self.residual)))


def interpolate(
    fields: FieldsLike,
    X: ArrayLike,
    Y: ArrayLike,
    *,
    readout: str = "identity",
    n_intervals: int | None = None,
    tol: float = 1e-8,
    max_loops: int = 1000,
    random_state: RandomSource = 0,
) -> InterpolationResult:
    r"""Controls whose flow takes every input to its output, with one set of controls for all.

    For :math:`dX_t = \sum_i u^i_t V_i(X_t)\,dt` find u such that for all i

    .. math:: X_1^{x_i} = y_i \quad\text{(identity)} \qquad\text{or}\qquad
              y_i = \lambda\,(X_1^{x_i} - x_i) \quad\text{(displacement, with lambda)}.

    One point (N = 1) is the steering problem of Chow and Rashevskii. The method is Coron's return
    method [2]_: start from loops of controls whose flow is the identity but whose linearisation is
    well conditioned, then correct by Newton steps, on all intervals at once, that move the points
    least. With the displacement readout lambda falls as far as Newton's method goes; with the
    identity a chain of loops carries the points along paths that keep them apart. The linearisation
    is renewed on the way.

    Parameters
    ----------
    fields : DrawnFields, fitted estimator, or sequence of vector fields
        Drawn fields, an estimator with ``vector_fields_``, or fields, matrices and callables.
    X, Y : array of shape (N, m)
        Inputs, pairwise distinct, and outputs; with the identity the outputs too are distinct.
    readout : {"identity", "displacement"}
        The form of the equations.
    n_intervals : int or None
        Intervals of one loop; None chooses, and doubles where that helps. A chain has this many
        for each of its loops, and up to four times as many for those that move points little.
    tol : float
        Largest error in Y that counts as success.
    max_loops : int
        Bound on the number of loops that are tried for a chain, in all attempts together. Some
        dozen others compare the paths that it may take.
    random_state : int, Generator or None
        Source of the random loops.

    Returns
    -------
    InterpolationResult
        With ``controls``, ``scale``, ``residual``, ``success`` and ``message``. Success is never
        claimed above tol.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, points coincide, the readout is unknown, or a
        number is too small.
    TypeError
        If n_intervals or max_loops is no integer, or tol no number.

    References
    ----------
    .. [1] C. Cuchiero, M. Larsson, J. Teichmann, "Deep neural networks, generic universal
       interpolation, and controlled ODEs", SIAM J. Math. Data Sci. 2(3), 2020.
    .. [2] J.-M. Coron, "Global asymptotic stabilization for controllable systems without drift",
       Math. Control Signals Systems 5, 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import UniversalFields
    >>> from skcode.geometry import interpolate
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.random((2, 4, 2))
    >>> result = interpolate(UniversalFields().draw(2, rng=0), X, Y, readout="displacement")
    >>> result.success, bool(result.error < 1e-8)
    (True, True)
    """
    X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
    fields = _as_fields(fields, X)
    _check(fields, X, Y, readout, n_intervals, tol, max_loops)
    solve = _displacement if readout == "displacement" else _identity
    if readout == "identity" and X.shape[1] == 1 and np.any(np.diff(Y[np.argsort(X[:, 0]), 0]) < 0):
        return _order_failure(fields, X, Y)
    keep_freed_memory()
    report = Report()
    many = batched_fields(fields)
    rng = as_generator(random_state)
    attempts = [
        n_intervals * k if n_intervals is not None else k * _least_intervals(fields, X, readout)
        for k in ((1,) * ATTEMPTS.repeats if n_intervals is not None else ATTEMPTS.growth)
    ]
    best = None
    with np.errstate(all="ignore"):
        for M in attempts:
            found = solve(many, X, Y, M, tol, max_loops, rng, report)
            if found is None:
                continue
            segments, scale = found
            result = _finish(X, Y, segments, scale, readout, tol, report)
            if best is None or np.isnan(best.error) or result.error < best.error:
                best = result
            if best.success or report.n_tried >= max_loops:
                break
    return best if best is not None else _failure(fields, X, Y, attempts[-1], readout, report)


def _displacement(
    batched: BatchedFields[Any],
    X: FloatArray,
    Y: FloatArray,
    M: int,
    tol: float,
    max_loops: int,
    rng: np.random.Generator,
    report: Report,
) -> tuple[list[Segment], float] | None:
    """One loop, followed along the ray X + Y / lambda as far as it goes."""
    spread = _spread(X)
    unit = np.max(abs(Y), initial=1e-300) / spread
    bearable = ATTEMPTS.digits * tol / np.max(abs(Y), initial=1e-300)
    least = unit * np.clip(bearable, 1.0, ATTEMPTS.largest_scale)

    def path(s: float) -> FloatArray:
        return X + (s / least) * Y

    found = follow(batched, path, X, spread, M, float(NEWTON.share * tol / least), rng, report)
    if found is None:
        return None
    segment, s = found
    report.notes.append(f"lambda could not be lowered below {least / s:.1e}")
    return [segment], float(least / s)


def _identity(
    batched: BatchedFields[Any],
    X: FloatArray,
    Y: FloatArray,
    M: int,
    tol: float,
    max_loops: int,
    rng: np.random.Generator,
    report: Report,
) -> tuple[list[Segment], float] | None:
    """A chain of loops along paths from X to Y."""
    spread = _spread(np.vstack([X, Y]))
    setting = Setting(batched, spread, M, rng, report)
    path = easiest_path(setting, X, Y)
    segments, s = chain(setting, path, X, tol, max_loops)
    bounded = s < 1 and report.n_tried >= max_loops
    bound = f"max_loops={max_loops} was reached" if bounded else ""
    if not segments:
        if bounded:
            report.notes.append(bound)
        return None
    came = f"the chain of {len(segments)} loops came {s:.1%} of the way"
    report.notes.append(f"{bound}, where {came}" if bounded else came)
    return segments, 1.0


def _finish(
    X: FloatArray,
    Y: FloatArray,
    segments: list[Segment],
    scale: float,
    readout: str,
    tol: float,
    report: Report,
) -> InterpolationResult:
    """Make the chain accurate, and say what is reached."""
    shift = X if readout == "displacement" else 0.0
    refinement = Refinement(segments, X, shift + Y / scale, tol / scale)
    residual = scale * (refinement.run() - shift) - Y
    w = np.concatenate([z.w for z in refinement.parts])
    error = np.max(abs(residual))
    success = bool(error <= tol)
    reached = f"largest error {error:.1e}, tol {tol:.1e}"
    if success:
        message = f"Interpolated: {reached}."
    elif not np.isfinite(error):
        message = "The flow explodes; smaller controls or bounded fields would help."
    else:
        message = f"Not interpolated ({reached}): {_limits(report)}."
    return InterpolationResult(
        len(w) * w,
        float(scale),
        residual,
        success,
        message,
        report.n_iter,
        report.n_tried,
        max(int(n.max()) for n in refinement.steps),
        report.condition,
    )


def _limits(report: Report) -> str:
    limits = [*report.notes[-1:], f"condition number {report.condition:.1e}"]
    if report.explosions:
        limits.append(f"{report.explosions} loops exploded")
    return "; ".join(limits)


def _failure(
    fields: DrawnFields, X: FloatArray, Y: FloatArray, M: int, readout: str, report: Report
) -> InterpolationResult:
    """No loop was of use: the controls are zero."""
    if report.notes:
        why = _limits(report)
    elif M * fields.n_fields < X.size:
        why = f"n_intervals * n_fields = {M * fields.n_fields} controls for {X.size} equations"
    elif report.explosions >= report.n_loops:
        why = "explosion: every loop left the floating range"
    elif report.condition > NEWTON.singular:
        why = (
            "rank: the linearisation is singular "
            f"(condition number {report.condition:.1e}); see hormander_rank"
        )
    else:
        why = f"conditioning: Newton found no step (condition number {report.condition:.1e})"
    residual = (X - Y) if readout == "identity" else -Y
    return InterpolationResult(
        np.zeros((M, fields.n_fields)),
        1.0,
        residual,
        False,
        f"Not interpolated ({why}).",
        report.n_iter,
        report.n_tried,
        1,
        report.condition,
    )


def _order_failure(fields: DrawnFields, X: FloatArray, Y: FloatArray) -> InterpolationResult:
    return InterpolationResult(
        np.zeros((1, fields.n_fields)),
        1.0,
        X - Y,
        False,
        "Not interpolated: flows of the line (m = 1) keep the order of points; "
        "augment the state to m >= 2.",
        0,
        0,
        1,
        np.nan,
    )


def _least_intervals(fields: DrawnFields, X: FloatArray, readout: str) -> int:
    """By experience: what solves the equations at the least cost."""
    (N, m), d, least = X.shape, fields.n_fields, INTERVALS
    if readout == "identity" and N > 1:
        pairs = max(N * N / m, least.equation_in_pairs * N * m)
        multiple = max(least.least_in_chain, int(np.ceil(pairs / (least.pairs * d))))
        return least.in_chain * multiple
    needed = max(least.a_point * N, least.an_equation * N * m)
    return least.alone * max(1, int(np.ceil(needed / d)))


def _spread(X: FloatArray) -> float:
    spread = float(np.max(abs(X - X.mean(axis=0))))
    return spread if spread > 0 else max(float(np.max(abs(X))), 1.0)


def _as_fields(fields: FieldsLike, X: FloatArray) -> DrawnFields:
    drawn = drawn_fields(fields)
    if isinstance(drawn, DrawnFields):
        return drawn
    return FunctionFields(vector_fields(fields)).draw(X.shape[-1] if X.ndim else 1)


def _check(
    fields: DrawnFields,
    X: FloatArray,
    Y: FloatArray,
    readout: str,
    n_intervals: int | None,
    tol: float,
    max_loops: int,
) -> None:
    if X.ndim != 2 or X.shape[1] != fields.n_states or not len(X):
        raise ValueError(f"X must have shape (N, {fields.n_states}); got {X.shape}.")
    if Y.shape != X.shape:
        raise ValueError(f"Y must have the shape of X, {X.shape}; got {Y.shape}.")
    if not (np.isfinite(X).all() and np.isfinite(Y).all()):
        raise ValueError("X and Y must be finite.")
    if readout not in ("identity", "displacement"):
        raise ValueError(f"readout={readout!r} must be 'identity' or 'displacement'.")
    if n_intervals is not None:
        check_count(n_intervals, "n_intervals")
    check_count(max_loops, "max_loops")
    check_tolerance(tol, "tol")
    if len(X) > 1 and pdist(X).min() == 0:
        raise ValueError("X holds equal points, which no flow can take apart.")
    if readout == "identity" and len(X) > 1 and pdist(Y).min() == 0:
        raise ValueError("Y holds equal points, which no flow can bring together.")
