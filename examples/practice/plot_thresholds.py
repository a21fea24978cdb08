"""
Calibration and thresholds
==========================

Probabilities are only useful if they are frequencies: of all rows that get 0.3, three in ten should
be positive. Then the threshold is a matter of prices, and of nothing else.
"""

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import make_scorer
from sklearn.model_selection import TunedThresholdClassifierCV, train_test_split

from skcode import ControlledODEClassifier

X, y = make_classification(
    3000, 8, n_informative=5, weights=[0.85], flip_y=0.08, class_sep=0.7, random_state=0
)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=600, random_state=0)
model = ControlledODEClassifier(random_state=0).fit(X_train, y_train)
forest = RandomForestClassifier(random_state=0).fit(X_train, y_train)

fig, ax = plt.subplots(figsize=(5.5, 4.6), layout="constrained")
for name, fitted in (("skcode", model), ("random forest", forest)):
    options = {"n_bins": 8, "strategy": "quantile", "name": name}
    CalibrationDisplay.from_estimator(fitted, X_test, y_test, ax=ax, **options)

# %%
# What a mistake costs
# --------------------
# Say that a positive that is missed costs ten times as much as a false alarm. The threshold that
# costs least on folds of the training rows is found by scikit-learn.


def gain(y_true, y_pred):
    missed = ((y_true == 1) & (y_pred == 0)).mean()
    false_alarm = ((y_true == 0) & (y_pred == 1)).mean()
    return -10 * missed - false_alarm


fast = ControlledODEClassifier(n_members=1, random_state=0)
tuned = TunedThresholdClassifierCV(fast, scoring=make_scorer(gain), cv=3).fit(X_train, y_train)
before, after = (gain(y_test, fitted.predict(X_test)) for fitted in (model, tuned))
print(f"threshold {tuned.best_threshold_:.2f}: a row costs {-after:.3f} in place of {-before:.3f}")
assert after > before

# %%
# Calibrated probabilities know the answer without a search: act where ten times the probability of
# a positive exceeds that of a negative, which is from 1 / 11 on.

direct = gain(y_test, (model.predict_proba(X_test)[:, 1] > 1 / 11).astype(int))
print(f"threshold 1 / 11 = {1 / 11:.2f}: a row costs {-direct:.3f}")
assert direct > before
plt.show()

# %%
# Weights are the other way (:doc:`/weights`); they change the probabilities themselves.
