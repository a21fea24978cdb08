"""
Importances and partial dependence
==================================

Which columns matter? ``feature_importances_`` says how much the prediction moves with a column;
permutation importance says how much worse the score gets without it. The first also sees the small
moves along columns that are noise, the second sees nothing of a column that others stand in for.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.model_selection import train_test_split

from skcode import ControlledODERegressor

# %%
# Five columns matter and five do not; the last is a noisy copy of the fourth.

rng = np.random.default_rng(0)
X, y = make_friedman1(400, n_features=10, noise=0.5, random_state=0)
X[:, 9] = X[:, 3] + 0.1 * rng.standard_normal(400)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = ControlledODERegressor(n_members=1, random_state=0).fit(X_train, y_train)
print(f"R2 on rows left out: {model.score(X_test, y_test):.3f}")

permuted = permutation_importance(model, X_test, y_test, n_repeats=5, random_state=0)
shares = permuted.importances_mean / permuted.importances_mean.sum()

columns = np.arange(10)
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.barh(columns - 0.2, model.feature_importances_, 0.38, label="feature_importances_")
ax.barh(columns + 0.2, shares, 0.38, label="permutation, as shares")
ax.set(yticks=columns, yticklabels=[f"x{j}" for j in columns], xlabel="importance")
ax.invert_yaxis()
ax.legend(frameon=False)
assert model.feature_importances_[5:9].max() < model.feature_importances_[:5].min()

# %%
# In which direction
# ------------------
# Partial dependence: the mean prediction as a column takes all its values. The truth is a sine in
# the product of ``x0`` and ``x1``, a parabola in ``x2``, and straight lines in ``x3`` and ``x4``.

fig, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
PartialDependenceDisplay.from_estimator(
    model, X_train[:60], [0, 2, 3, (0, 1)], grid_resolution=15, ax=axes
)

# %%
# The controls of the diagonal fields are no importances: they say what the flow does to a
# coordinate, and the readout weighs what arrives.

controls = model.controls_[:, :10].mean(axis=0)
for j in np.argsort(-model.feature_importances_)[:5]:
    print(f"x{j}: importance {model.feature_importances_[j]:.2f}, mean control {controls[j]:+.2f}")
plt.show()

# %%
# More on explaining single predictions is in :doc:`/explain`.
