r"""
Two fields are enough
=====================

The interpolation theorem of the lecture uses five fields and remarks that five is probably not
optimal. Grong and Vega-Molino proved that it is not: one constant field and one polynomial field of
degree three steer any number of distinct points to any others. This example computes it, with a
cubic field of our own,

.. math:: V_1 = e_2, \qquad V_2(x) = \big((x^1)^2 - (x^2)^2\big) \begin{pmatrix} -x^2 \\ x^1
          \end{pmatrix},

a push upwards and a rotation whose speed depends on where a point is. Neither lets a point escape.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

from skcode.fields import TwoFields, UniversalFields
from skcode.flow import trajectory
from skcode.geometry import bracket_basis, generates_polynomials, hormander_rank, interpolate

plt.style.use("tableau-colorblind10")
COLOURS = ["C0", "C1", "C3", "C4", "C5"]

fields, five = TwoFields().draw(n_states=2), UniversalFields().draw(n_states=2, rng=0)

# %%
# What they generate
# ------------------
# Brackets with the constant field are derivatives: they lower the degree by one. From the cubic
# field they lead to all quadratic, linear and constant ones, in exact arithmetic. The five fields
# of the lecture are among these, so that the two generate all polynomial fields, as the five do.

generated = generates_polynomials(fields, degree=2)
print("dimensions by degree:", generated.dimensions, "of", generated.expected)
assert generated.complete

# %%
# Ranks by depth
# --------------
# Full rank for N points in the plane is 2N. No rank exceeds the number of brackets, Witt's numbers,
# and two letters make few of them: two fields need deeper brackets than five do.

depth = 6
X = np.random.default_rng(0).random((7, 2))
words = np.cumsum([len(level) for level in bracket_basis(2, depth)])
ranks = {N: np.array(hormander_rank(fields, X[:N], depth).ranks) for N in (1, 3, 5, 7)}
for N, by_depth in ranks.items():
    print(f"N = {N}: two fields {by_depth}, five {hormander_rank(five, X[:N], 4).ranks}")
    assert np.all(by_depth <= np.minimum(words, 2 * N))
    assert by_depth[-1] == 2 * N

# %%
# Five points, two controls
# -------------------------
# In the theorem's form, :math:`y_i = \lambda (X_1^{x_i} - x_i)`, one loop of 100 intervals is
# enough. Its way back almost undoes its way out, and what remains is the displacement.

inputs, outputs = np.random.default_rng(0).random((2, 5, 2))
loop = interpolate(fields, inputs, outputs, readout="displacement")
print(f"{loop.message} lambda = {loop.scale:.0f}, {loop.controls.size} controls")
assert loop.success
assert loop.controls.shape == (100, 2)

state = inputs
for u in loop.controls:  # the same by scipy, interval by interval
    state = solve_ivp(
        lambda _, z, u=u: fields.combine(z.reshape(5, 2), u).ravel(),
        (0, 1 / len(loop.controls)),
        state.ravel(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
    ).y[:, -1]
    state = state.reshape(5, 2)
moved = state - inputs
assert np.max(abs(loop.scale * moved - outputs)) < 1e-7

# %%

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
depths = np.arange(1, depth + 1)
left.plot(depths, words, color="0.6", ls="--", label="number of brackets")
for (N, by_depth), colour in zip(ranks.items(), COLOURS, strict=False):
    left.plot(depths, by_depth, "o-", color=colour, label=f"N = {N}")
left.set(
    title="Rank of two fields",
    xlabel="fields in a bracket, at most",
    ylabel="rank at N points",
    ylim=(0, 16),
)
# below the panel: the curves fill it
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
paths = trajectory(fields, inputs, loop.controls, "rk4", n_steps=10)
for i, colour in enumerate(COLOURS):
    middle.plot(*paths[:, i].T, color=colour, lw=1.2)
    middle.plot(*inputs[i], "o", color=colour, ms=9)
    right.plot(*outputs[i], "o", color=colour, ms=9, mfc="none", mew=2)
    right.plot(*(loop.scale * moved[i]), "x", color=colour, ms=9)
middle.set(title="Out and back", xlabel="$x^1$", ylabel="$x^2$")
middle.set_aspect("equal", "datalim")
right.set(
    title=f"The small rest, times $\\lambda = {loop.scale:.0f}$",
    xlabel="$y^1$ (ring), $\\lambda (X_1 - x)^1$ (cross)",
    ylabel="$y^2$, $\\lambda (X_1 - x)^2$",
)
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`. How it is computed: :doc:`/interpolation`.
