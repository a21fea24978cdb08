"""
A learning curve
================

Would more rows help? Fit on parts of the rows and watch the score of rows left out: where it still
rises at the end, more data would do more than any tuning.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LearningCurveDisplay

from skcode import ControlledODERegressor

X, y = make_friedman1(900, noise=1.0, random_state=0)
models = {
    "skcode": ControlledODERegressor(n_members=1, random_state=0),
    "gradient boosting": HistGradientBoostingRegressor(random_state=0),
    "ridge": RidgeCV(),
}
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
last = {}
for k, (name, model) in enumerate(models.items()):
    display = LearningCurveDisplay.from_estimator(
        model,
        X,
        y,
        train_sizes=[50, 100, 200, 400, 600],
        cv=3,
        ax=ax,
        score_type="test",
        score_name="R2 on rows left out",
        line_kw={"color": f"C{k}", "marker": "o"},
        fill_between_kw={"color": f"C{k}", "alpha": 0.15},
    )
    last[name] = display.test_scores.mean(axis=1)
    display.lines_[0].set_label(name)
ax.set_xscale("log")
ax.legend(frameon=False)
for name, means in last.items():
    print(f"{name}:", *means.round(3))
assert last["skcode"][-1] > last["ridge"][-1]

# %%
# The noise bounds what can be reached: of the variance of these targets all but 1 is signal.

print(f"a perfect model has R2 {1 - 1 / y.var():.3f}")
plt.show()

# %%
# What to do about each shape of the curve is in :doc:`/tuning`.
