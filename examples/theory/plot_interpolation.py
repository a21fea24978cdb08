r"""
Interpolation as moving points
==============================

Interpolation asks for one set of controls that takes every input to its own output at the same
time, :math:`X_1^{x_i} = y_i`. All points move in the same fields, with the same controls: whatever
pushes one of them pushes the others as well.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from scipy.integrate import solve_ivp

from skcode.fields import NeuralFields, UniversalFields
from skcode.flow import trajectory
from skcode.geometry import interpolate

plt.style.use("tableau-colorblind10")
COLOURS = ["C0", "C1", "C3", "C4", "C5"]


def end_point(fields, X, controls):
    """X_1, by scipy's method of order 8 at tight tolerance, interval by interval."""
    x = X
    for u in controls:
        x = solve_ivp(
            lambda _, z, u=u: fields.combine(z.reshape(X.shape), u).ravel(),
            (0, 1 / len(controls)),
            x.ravel(),
            method="DOP853",
            rtol=1e-12,
            atol=1e-13,
        ).y[:, -1]
        x = x.reshape(X.shape)
    return x


# %%
# Five points change places
# -------------------------
# Five points on a circle, each of which takes the place of the second next. Twenty random neural
# fields in the plane, six intervals.

angles = 2 * np.pi * np.arange(5) / 5
X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
Y = np.roll(X, 2, axis=0)
fields = NeuralFields(rank=None).draw(n_states=2, n_fields=20, rng=0)
result = interpolate(fields, X, Y, n_intervals=6)
print(result.message)
assert result.success
assert np.max(abs(end_point(fields, X, result.controls) - Y)) < 1e-7

# %%
# The theorem's form
# ------------------
# With the readout :math:`y_i = \lambda (X_1^{x_i} - x_i)` the points need only move a little, each
# in its own direction, and :math:`\lambda` makes up for the size. The five explicit fields suffice
# for any number of points. The controls that `interpolate` finds lead the points out and back:
# along a loop, small changes of the controls reach directions that no single field has.

five = UniversalFields().draw(n_states=2, rng=0)
inputs, outputs = np.random.default_rng(0).random((2, 5, 2))
loop = interpolate(five, inputs, outputs, readout="displacement", n_intervals=8)
print(f"{loop.message} lambda = {loop.scale:.0f}")
assert loop.success
moved = end_point(five, inputs, loop.controls) - inputs
assert np.max(abs(loop.scale * moved - outputs)) < 1e-7

# %%


def draw_points(ax, points, marker, **style):
    for point, colour in zip(points, COLOURS, strict=True):
        ax.plot(*point, marker, color=colour, ms=9, **style)


def paths_of(fields, X, controls, n_frames):
    """States (frames, N, m) at equal times."""
    per_interval = n_frames // len(controls)
    return trajectory(fields, X, np.repeat(controls, per_interval, axis=0), "rk4", n_steps=4)


figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
exchange = paths_of(fields, X, result.controls, 120)
excursion = paths_of(five, inputs, loop.controls, 120)
for ax, paths in [(left, exchange), (middle, excursion)]:
    for path, colour in zip(paths.transpose(1, 2, 0), COLOURS, strict=True):
        ax.plot(*path, color=colour, lw=1.2)
    draw_points(ax, paths[0], "o")
draw_points(left, Y, "o", mfc="none", mew=2)
left.set(title="Exact matching: from discs to rings", xlabel="$x^1$", ylabel="$x^2$")
left.set_aspect("equal", "datalim")
middle.set(title="The theorem's form: out and back", xlabel="$x^1$", ylabel="$x^2$")
draw_points(right, outputs, "o", mfc="none", mew=2)
draw_points(right, loop.scale * moved, "x")
right.set(
    title=f"The small rest, times $\\lambda = {loop.scale:.0f}$",
    xlabel="$y^1$ (ring), $\\lambda (X_1 - x)^1$ (cross)",
    ylabel="$y^2$, $\\lambda (X_1 - x)^2$",
)
plt.show()

# %%
# The exchange as it happens.

moving, ax = plt.subplots(figsize=(5, 5), layout="constrained")
draw_points(ax, Y, "o", mfc="none", mew=2)
tails = [ax.plot([], [], color=colour, lw=1.5, alpha=0.6)[0] for colour in COLOURS]
heads = [ax.plot([], [], "o", color=colour, ms=9)[0] for colour in COLOURS]
margin = 0.1 * np.ptp(exchange)
ax.set(
    xlim=(exchange[..., 0].min() - margin, exchange[..., 0].max() + margin),
    ylim=(exchange[..., 1].min() - margin, exchange[..., 1].max() + margin),
    xlabel="$x^1$",
    ylabel="$x^2$",
)
ax.set_aspect("equal")


def show(frame):
    ax.set_title(f"t = {frame / (len(exchange) - 1):.2f}")
    for i, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        head.set_data(*exchange[frame : frame + 1, i].T)
        tail.set_data(*exchange[max(frame - 30, 0) : frame + 1, i].T)
    return [*heads, *tails]


animation = FuncAnimation(moving, show, frames=range(0, len(exchange), 2), interval=60)
show(len(exchange) - 1)
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`. How it is computed: :doc:`/interpolation`.
