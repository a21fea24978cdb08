"""
Quantiles of skewed targets
===========================

The mean says little where noise is skewed, and nothing of how bad a bad day is.
``loss="quantile"`` predicts the level that one row in ten exceeds, or any other.
"""

import matplotlib.pyplot as plt
import numpy as np

from skcode import ControlledODERegressor

rng = np.random.default_rng(0)


def waiting_times(n):
    hour = np.sort(rng.uniform(0, 24, n))
    typical = 6 + 4 * np.exp(-(((hour - 9) / 2) ** 2)) + 5 * np.exp(-(((hour - 17) / 3) ** 2))
    return hour[:, None], typical * (0.6 + rng.exponential(0.4, n))


# %%
# Waiting times are skewed: most are short, a few are long. Three models, for three levels.

X, y = waiting_times(600)
X_new, y_new = waiting_times(4000)
grid = np.linspace(0, 24, 200)[:, None]
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(X[:, 0], y, ".", ms=4, color="0.6", label="data")
for k, level in enumerate((0.1, 0.5, 0.9)):
    model = ControlledODERegressor(loss="quantile", quantile=level, n_members=2, random_state=0)
    model.fit(X, y)
    below = (y_new < model.predict(X_new)).mean()
    ax.plot(grid, model.predict(grid), color=f"C{k}", lw=2, label=f"level {level}")
    print(f"level {level}: {below:.1%} of new rows are below")
    assert abs(below - level) < 0.07
ax.set(xlabel="hour of the day", ylabel="minutes", xlim=(0, 24), xticks=range(0, 25, 6))
ax.legend(frameon=False)
plt.show()

# %%
# Counts, costs and outliers have losses too: :doc:`/losses`.
