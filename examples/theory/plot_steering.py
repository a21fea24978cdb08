r"""
Steering one point
==================

The theorem of Chow and Rashevskii: if the fields and their iterated brackets span
:math:`\mathbb{R}^m` at every point, then controls exist that steer any point to any other. This is
interpolation with one point, :math:`X_1^x = y`.

Two examples with two fields each, in which the straight way from :math:`x` to :math:`y` is a
direction that no field has: only a bracket has it.
"""

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

from skcode.fields import FunctionFields
from skcode.flow import trajectory
from skcode.geometry import interpolate, lie_algebra_rank, lie_bracket

plt.style.use("tableau-colorblind10")

# %%
# The unicycle
# ------------
# Its state is a position in the plane and an angle. It can drive in the direction of the angle, and
# turn on the spot. It cannot slide sideways, but the bracket of the two fields can.


def drive(x):
    return anp.stack([anp.cos(x[:, 2]), anp.sin(x[:, 2]), 0.0 * x[:, 2]], axis=1)


def turn(x):
    return 0.0 * x + np.array([0.0, 0.0, 1.0])


unicycle = FunctionFields([drive, turn]).draw(n_states=3)
parked, wanted = np.array([[0.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])
assert np.allclose(lie_bracket(turn, drive)(parked), [[0, 1, 0]])
ranks = lie_algebra_rank(unicycle, parked[0], depth=2).ranks
print(f"unicycle: the fields span {ranks[0]} dimensions, with their bracket {ranks[1]} of 3")
assert ranks == (2, 3)

# %%
# `interpolate` finds controls on 20 intervals that park it one unit to the left, with the angle it
# had.

parking = interpolate(unicycle, parked, wanted, n_intervals=20, tol=1e-10)
print(f"unicycle: {parking.message}")
assert parking.success

# %%
# A plane with a blind line
# -------------------------
# The fields :math:`e_1` and :math:`x^1 e_2`, known as the Grushin plane. On the line
# :math:`x^1 = 0` the second field vanishes; their bracket is :math:`e_2` everywhere.


def east(x):
    return 0.0 * x + np.array([1.0, 0.0])


def north(x):
    return anp.stack([0.0 * x[:, 0], x[:, 0]], axis=1)


grushin = FunctionFields([east, north]).draw(n_states=2)
x, y = np.array([[0.0, 0.0]]), np.array([[0.0, 1.0]])
assert np.allclose(lie_bracket(east, north)(x), [[0, 1]])
for point in [(0.0, 0.0), (1.0, 0.0)]:
    ranks = lie_algebra_rank(grushin, point, depth=2).ranks
    print(f"Grushin plane at {point}: ranks {ranks} by depth")
    assert ranks == ((1, 2) if point[0] == 0 else (2, 2))
climb = interpolate(grushin, x, y, n_intervals=10, tol=1e-10)
print(f"Grushin plane: {climb.message}")
assert climb.success

# %%
# The check
# ---------
# The controls alone are the result. Here scipy follows them at tight tolerance.


def follow(fields, x, controls):
    """The end of the flow, by scipy's method of order 8, interval by interval."""
    z = x.ravel()
    for u in controls:
        z = solve_ivp(
            lambda _, z, u=u: fields.combine(z[None], u)[0],
            (0, 1 / len(controls)),
            z,
            method="DOP853",
            rtol=1e-12,
            atol=1e-13,
        ).y[:, -1]
    return z


for fields, start, end, result in [(unicycle, parked, wanted, parking), (grushin, x, y, climb)]:
    error = np.max(abs(follow(fields, start, result.controls) - end))
    print(f"distance from the target, by scipy: {error:.1e}")
    assert error < 1e-9

# %%
# The unicycle goes back and forth, as drivers do; the other point leaves the blind line, climbs,
# and returns.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
path = trajectory(unicycle, parked, np.repeat(parking.controls, 20, axis=0), "rk4")[:, 0]
left.plot(*path[:, :2].T, color="C0")
shown = path[::20]
left.quiver(
    *shown[:, :2].T, np.cos(shown[:, 2]), np.sin(shown[:, 2]), color="C4", scale=22, width=0.005
)
for (px, py, angle), colour, name in [(path[0], "C3", "start"), (path[-1], "C1", "end")]:
    left.quiver(px, py, np.cos(angle), np.sin(angle), color=colour, scale=12, width=0.012, zorder=3)
    left.plot(px, py, "o", color=colour, ms=8, label=name, zorder=3)
left.set(title="A unicycle parks sideways", xlabel="$x^1$", ylabel="$x^2$")

path = trajectory(grushin, x, np.repeat(climb.controls, 20, axis=0), "rk4")[:, 0]
right.axvline(0, color="C2", lw=6, alpha=0.5, label="here only $e_1$ is left")
right.plot(*path.T, color="C0", label="path")
right.plot(*path[::20].T, ".", color="C0")
right.plot(*path[0], "o", color="C3", ms=8, label="start")
right.plot(*path[-1], "o", color="C1", ms=8, label="end")
right.set(title="Up a line on which no field points up", xlabel="$x^1$", ylabel="$x^2$")
for ax in (left, right):
    ax.margins(0.12)
    ax.set_aspect("equal")
    # below the panel: a path may lead anywhere in it
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`. How it is computed: :doc:`/interpolation`.
