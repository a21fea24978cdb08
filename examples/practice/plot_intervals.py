r"""
Prediction intervals
====================

``predict(X, return_std=True)`` returns the standard deviation of a new observation. It follows the
data: wide where they are noisy or sparse. The band of 90 % is the mean :math:`\mp 1.645`
deviations.
"""

import matplotlib.pyplot as plt
import numpy as np

from skcode import ControlledODERegressor

rng = np.random.default_rng(0)


def sample(n):
    x = np.sort(np.concatenate([rng.uniform(-3, 0, n // 2), rng.uniform(1, 3, n // 2)]))
    noise = np.where(x < 0, 0.12, 0.35)
    return x[:, None], np.sin(2.2 * x) + 0.4 * x + noise * rng.standard_normal(len(x))


X, y = sample(200)
model = ControlledODERegressor(random_state=0).fit(X, y)
grid = np.linspace(-3, 3, 300)
mean, std = model.predict(grid[:, None], return_std=True)

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.fill_between(grid, mean - 1.645 * std, mean + 1.645 * std, alpha=0.25, label="90 %")
ax.plot(grid, mean, label="prediction")
ax.plot(X[:, 0], y, ".", ms=4, color="C3", label="data")
ax.set(xlabel="x", ylabel="y")
ax.legend(frameon=False)

# %%
# Do they hold?
# -------------
# An interval is good if it covers what it says on rows that the fit has not seen, where noise is
# small and where it is large.

X_new, y_new = sample(2000)
centre, spread = model.predict(X_new, return_std=True)
for level, width in ((0.5, 0.674), (0.8, 1.282), (0.9, 1.645), (0.95, 1.960)):
    inside = np.abs(y_new - centre) < width * spread
    left, right = inside[X_new[:, 0] < 0].mean(), inside[X_new[:, 0] > 0].mean()
    print(f"{level:.0%}: covers {inside.mean():.1%} (quiet {left:.1%}, noisy {right:.1%})")
assert 0.85 < np.mean(np.abs(y_new - centre) < 1.645 * spread) < 0.95
plt.show()

# %%
# What the variance is made of, and how it is fitted to rows left out, is told in :doc:`/readout`.
