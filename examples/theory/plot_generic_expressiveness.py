r"""
Random fields interpolate
=========================

The main theorem: draw the coefficients of at least five polynomial fields of degree two or more
from a law with a density, and the inputs from a density as well. Then, with probability one,
controls and a number :math:`\lambda` exist such that

.. math:: y_i = \lambda\, (X_1^{x_i} - x_i) \quad\text{for all } i.

Expressiveness is the rule, not the exception. This example draws many systems, computes for each
whether the condition holds, and for some of them the controls.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from skcode.fields import AffineFields, LinearFields, NeuralFields, PolynomialFields
from skcode.geometry import hormander_rank, interpolate

plt.style.use("tableau-colorblind10")

# %%
# Many draws, the condition
# -------------------------
# Twenty draws of fields and points for each family and each number of points in the plane, brackets
# of up to three fields. Linear and affine fields are too small a class: they generate 4 and 6
# dimensions, and fail from 3 and 4 points on. Polynomial fields succeed in every draw.

families = {
    "five linear": (LinearFields(), 5),
    "five affine": (AffineFields(), 5),
    "five quadratic": (PolynomialFields(degree=2), 5),
    "seven neurons": (NeuralFields("polynomial", rank=None), 7),
}
numbers = range(1, 7)
n_draws = 20


def holds(family, n_fields, n_points, seed):
    """Whether the N-point condition holds for one draw of fields and points."""
    rng = np.random.default_rng(seed)
    fields = family.draw(2, n_fields, rng)
    return hormander_rank(fields, rng.random((n_points, 2)), depth=3).full


shares = {
    name: [np.mean([holds(*law, N, seed) for seed in range(n_draws)]) for N in numbers]
    for name, law in families.items()
}
for name, share in shares.items():
    print(f"{name:>15}:", *(f"N={N} {s:.0%}" for N, s in zip(numbers, share, strict=True)))
assert shares["five linear"] == [N * 2 <= 4 for N in numbers]
assert shares["five affine"] == [N * 2 <= 6 for N in numbers]
assert min(shares["five quadratic"] + shares["seven neurons"]) == 1

# %%
# Some draws, the controls
# ------------------------
# For four points, inputs and outputs uniform on the square, the controls themselves. `interpolate`
# never claims success above its tolerance.

tol = 1e-8
errors = {}
for name, (family, n_fields) in list(families.items())[1:]:
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        fields = family.draw(2, n_fields, rng)
        X, Y = rng.random((2, 4, 2))
        found.append(interpolate(fields, X, Y, readout="displacement", n_intervals=6, tol=tol))
    errors[name] = np.array([result.error for result in found])
    print(f"{name:>15}: {sum(r.success for r in found)} of {len(found)} interpolated")
    assert all(result.success == (name != "five affine") for result in found)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
colours, markers = ["C2", "C3", "C0", "C1"], "^vos"
for k, (name, share) in enumerate(shares.items()):
    left.plot(
        numbers, share, marker=markers[k], color=colours[k], lw=4 - k, ms=10 - 2 * k, label=name
    )
left.yaxis.set_major_formatter(PercentFormatter(1.0))
left.set(
    title=f"The N-point condition, {n_draws} draws",
    xlabel="number of points $N$ in the plane",
    ylabel="share of draws in which it holds",
)
left.legend(loc="center right")
left.grid(alpha=0.4)

for k, error in enumerate(errors.values(), 1):
    right.semilogy(
        k + np.linspace(-0.2, 0.2, len(error)), error, markers[k], color=colours[k], ms=7
    )
right.axhline(tol, color="C3", lw=1, ls=":")
right.annotate("tolerance", (0.55, tol), xytext=(0, 4), textcoords="offset points")
right.set_xlim(0.5, 3.5)
right.set_xticks(range(1, len(errors) + 1), errors)
right.set(title="Controls for four points", ylabel="largest error of $\\lambda (X_1 - x)$")
right.grid(axis="y", alpha=0.4)
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`.
