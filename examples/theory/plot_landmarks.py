r"""
Matching shapes by their landmarks
==================================

Mark points on the contour of one shape and the corresponding points on another. Controls that take
each mark to its partner, :math:`X_1^{x_i} = y_i`, move the points in between as well, and with
them the whole plane: a flow is a smooth map with a smooth inverse, so that nothing tears or folds.
This is landmark matching, as it is used to compare organs or leaves [1]_. Here the fields are
random, and the controls are all that is found.

.. [1] S. C. Joshi, M. I. Miller, "Landmark matching via large deformation diffeomorphisms", IEEE
       Trans. Image Processing 9(8), 2000.
"""

import matplotlib.pyplot as plt
import numpy as np
from autograd import make_jvp

from skcode.fields import NeuralFields
from skcode.flow import flow
from skcode.geometry import interpolate

plt.style.use("tableau-colorblind10")


def disc(angle):
    """Points (N, 2) of the first contour."""
    return 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def leaf(angle):
    """The points of the second contour that correspond to them."""
    return (1 + 0.3 * np.cos(3 * angle))[:, None] * disc(angle)


# %%
# Controls for 24 landmarks
# -------------------------
# Forty random neural fields in the plane. `interpolate` carries the landmarks along planned paths,
# a small part of the way by each loop of controls.

landmarks = np.linspace(0, 2 * np.pi, 24, endpoint=False)
X, Y = disc(landmarks), leaf(landmarks)
fields = NeuralFields(rank=None, scale=2.5).draw(n_states=2, n_fields=40, rng=0)
result = interpolate(fields, X, Y, random_state=0)
print(result.message, f"{result.controls.size} controls, {result.n_loops} loops")
assert result.success

# %%
# The plane comes along
# ---------------------
# The same controls move any other point. Between landmarks the contour stays close to the leaf, and
# the determinant of the flow's derivative is positive everywhere: the map keeps its orientation.


def carried(points):
    """Where the controls take the points."""
    return flow(fields, points, result.controls, "rk4", n_steps=6)


# the residual of `interpolate` is that of the exact flow; steps of RK4 leave a little more
print(f"landmarks are met up to {np.max(abs(carried(X) - Y)):.0e}")
assert np.max(abs(carried(X) - Y)) < 1e-5

fine = np.linspace(0, 2 * np.pi, 500)
contour, target = carried(disc(fine)), leaf(fine)
gaps = np.linalg.norm(contour[:, None] - target, axis=2).min(axis=1)
print(f"the contour is at most {gaps.max():.3f} from the leaf")
assert gaps.max() < 0.02

n_lines = 31
line = np.linspace(-0.8, 0.8, n_lines)
grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
derivatives = [make_jvp(carried)(grid)(np.broadcast_to(e, grid.shape))[1] for e in np.eye(2)]
areas = np.linalg.det(np.stack(derivatives, axis=2))
print(f"areas change by factors from {areas.min():.2f} to {areas.max():.2f}")
assert areas.min() > 0

# %%

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 5.4), sharex=True, sharey=True, layout="constrained"
)
panels = [
    (left, grid, disc(fine), X, "A disc, with landmarks"),
    (right, carried(grid), contour, carried(X), "The same plane after the flow"),
]
for ax, plane, curve, points, title in panels:
    mesh = ax.pcolormesh(
        *plane.reshape(n_lines, n_lines, 2).transpose(2, 0, 1),
        np.log2(areas).reshape(n_lines, n_lines),
        cmap="PuOr",
        vmin=-2,
        vmax=2,
        shading="gouraud",
        rasterized=True,
    )
    lines = plane.reshape(n_lines, n_lines, 2)[::2, ::2]
    ax.plot(*lines.transpose(2, 0, 1), color="0.4", lw=0.5)
    ax.plot(*lines.transpose(2, 1, 0), color="0.4", lw=0.5)
    ax.plot(*curve.T, color="C0", lw=2)
    ax.plot(*points.T, "o", color="C1", ms=6)
    ax.set(title=title, xlabel="$x^1$", aspect="equal")
right.plot(*target.T, color="k", lw=1, ls=":")
right.plot(*Y.T, "o", mfc="none", mec="k", ms=9)
left.set(ylabel="$x^2$")
figure.colorbar(mesh, ax=[left, right], label="binary logarithm of the change of area", shrink=0.8)
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`. How it is computed: :doc:`/interpolation`.
