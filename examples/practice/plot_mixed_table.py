"""
A table as people have it
=========================

Numbers with gaps, categories and a date, from raw columns to a search: the columns are encoded
inside the fit, so that a cross-validation cannot leak.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, train_test_split

from skcode import ControlledODERegressor

rng = np.random.default_rng(0)
n = 500
table = pd.DataFrame(
    {
        "size": rng.uniform(20, 150, n),
        "rooms": rng.integers(1, 6, n).astype(float),
        "city": pd.Categorical(rng.choice(["Bern", "Graz", "Lyon", "Wien"], n)),
        "heating": pd.Categorical(rng.choice(["gas", "heat pump", "oil", "wood"], n)),
        "built": pd.Timestamp("1950-01-01") + pd.to_timedelta(rng.integers(0, 25_000, n), "D"),
    }
)
price = table["city"].map({"Bern": 30.0, "Graz": 12.0, "Lyon": 16.0, "Wien": 19.0}).astype(float)
age = (pd.Timestamp("2020-01-01") - table["built"]).dt.days / 365.25
rent = table["size"] * price * (1 - 0.004 * age) + 40 * table["rooms"] + 60 * rng.standard_normal(n)
table.loc[rng.choice(n, 50, replace=False), "size"] = np.nan
table.loc[rng.choice(n, 30, replace=False), "heating"] = np.nan
print(table.head())

# %%
# No pipeline is needed. A search reaches the model as it is.

X_train, X_test, y_train, y_test = train_test_split(table, rent, random_state=0)
search = GridSearchCV(
    ControlledODERegressor(n_members=1, random_state=0), {"n_fields": [32, 64]}, cv=2
).fit(X_train, y_train)
print(f"{search.best_params_}: R2 {search.score(X_test, y_test):.3f} on rows left out")
assert search.score(X_test, y_test) > 0.7

# %%
# Which columns matter to the score? Permutation works on the table as well. The heating was drawn
# at random, and the rooms count little.

permuted = permutation_importance(search, X_test, y_test, n_repeats=5, random_state=0)
order = np.argsort(permuted.importances_mean)
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.barh(table.columns[order], permuted.importances_mean[order])
ax.set(xlabel="loss of R2 when the column is permuted")
assert set(table.columns[order[-2:]]) == {"city", "size"}
plt.show()

# %%
# What becomes of each kind of column is in :doc:`/tables`.
