"""The learners of the tabular benchmark, at their defaults, and how each sees a raw table.

Arrays go to every learner as they are, or standardised. A raw table has categories, booleans and
missing values:

- "frame": the learner gets the frame itself (skcode);
- "native": categories and missing values stay (histogram boosting, XGBoost, LightGBM), but for
  categories of more levels than the learner bears;
- "strings": categories are strings, a missing one a level of its own (CatBoost);
- "imputed": categories stay, missing numbers are filled in (the learners of pytabkit);
- "encoded": all becomes numbers: missing numbers the median and an indicator, categories of few
  levels one-hot, categories of many levels a target statistic that is fitted without leaking.

What is fitted is fitted inside the learner's pipeline, on training rows alone.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
    TargetEncoder,
)

#: the learners of pytabkit: one thread of the processor, and silence
PYTABKIT = {"device": "cpu", "n_threads": 1, "verbosity": 0}


@dataclass(frozen=True)
class Learner:
    """Where a learner comes from and what it needs; imported when it is built.

    Parameters
    ----------
    module, classifier, regressor : str
    table : {"frame", "native", "strings", "imputed", "encoded"}
        The form of a raw table, see above.
    most_levels : float
        Categories of more levels than this become a target statistic.
    scaled : bool
        Whether numbers are standardised.
    params : dict
        For threads and silence: everything else is the learner's default.
    table_params : dict
        More parameters for a raw table.
    seed : str
        Name of the parameter that takes the random seed.
    max_rows : int or None
        Training rows beyond which the learner takes too long to be run unasked.
    wakes_slowly : bool
        Whether the first fit in a process imports and compiles, which no fit time shall contain.
    """

    module: str
    classifier: str
    regressor: str
    table: str = "encoded"
    most_levels: float = 40
    scaled: bool = False
    params: dict = field(default_factory=dict)
    table_params: dict = field(default_factory=dict)
    seed: str = "random_state"
    max_rows: int | None = None
    wakes_slowly: bool = False

    def load(self, task):
        """The estimator's class."""
        name = self.classifier if task == "classification" else self.regressor
        return getattr(import_module(self.module), name)

    def build(self, task, seed, params, X):
        """Return an unfitted estimator for the task.

        Parameters
        ----------
        task : str
        seed : int
        params : dict
        X : ndarray or DataFrame
            Training rows; only the kind of each column and its number of levels are read.
        """
        steps, more = ([], {}) if isinstance(X, np.ndarray) else self._table_steps(task, X)
        if self.scaled:
            steps.append(StandardScaler())
        estimator = self.load(task)(**self.params | more | params)
        # CatBoost's get_params knows only what was set
        if self.seed != "random_state" or self.seed in estimator.get_params():
            estimator.set_params(**{self.seed: seed})
        return make_pipeline(*steps, estimator) if steps else estimator

    def _table_steps(self, task, X):
        """Steps before the learner, and more parameters of it, for a raw table."""
        if self.table == "frame":
            return [], {}
        plain = FunctionTransformer(plain_numbers)
        levels = {name: X[name].nunique() for name in X if _is_category(X[name])}
        if self.table == "strings":
            strings = FunctionTransformer(categories_as_strings)
            return [plain, strings], {"cat_features": list(levels)}
        numbers = [name for name in X if name not in levels]
        wide = [name for name, n_levels in levels.items() if n_levels > self.most_levels]
        narrow = [name for name in levels if name not in wide]
        target_type = "auto" if task == "classification" else "continuous"
        parts = [(TargetEncoder(target_type=target_type), wide)]
        if self.table != "native":
            parts.append((SimpleImputer(strategy="median", add_indicator=True), numbers))
        if self.table == "encoded":
            parts.append((OneHotEncoder(handle_unknown="ignore", sparse_output=False), narrow))
        encode = make_column_transformer(
            *parts, remainder="passthrough", verbose_feature_names_out=False
        )
        return [plain, encode.set_output(transform="pandas")], self.table_params


def _is_category(column):
    return column.dtype.name in {"category", "object", "string", "str"}


def plain_numbers(X):
    """Booleans and nullable numbers as float64, missing ones as NaN."""
    return X.astype({name: np.float64 for name in X if not _is_category(X[name])})


def categories_as_strings(X):
    """Categories as strings, a missing one as a level of its own, as CatBoost wants it."""
    names = [name for name in X if _is_category(X[name])]
    strings = {c: X[c].astype(object).where(X[c].notna(), "missing").astype(str) for c in names}
    return X.assign(**strings)


OURS = "skcode"
LEARNERS = {
    OURS: Learner("skcode", "ControlledODEClassifier", "ControlledODERegressor", table="frame"),
    "linear": Learner("sklearn.linear_model", "LogisticRegression", "Ridge", scaled=True),
    "mlp": Learner(
        "sklearn.neural_network",
        "MLPClassifier",
        "MLPRegressor",
        scaled=True,
        params={"max_iter": 500},
    ),
    "svm": Learner("sklearn.svm", "SVC", "SVR", scaled=True),
    "knn": Learner("sklearn.neighbors", "KNeighborsClassifier", "KNeighborsRegressor", scaled=True),
    "forest": Learner("sklearn.ensemble", "RandomForestClassifier", "RandomForestRegressor"),
    "hist_boosting": Learner(
        "sklearn.ensemble",
        "HistGradientBoostingClassifier",
        "HistGradientBoostingRegressor",
        table="native",
        most_levels=255,  # what it bears
    ),
    "xgboost": Learner(
        "xgboost",
        "XGBClassifier",
        "XGBRegressor",
        table="native",
        most_levels=np.inf,
        params={"n_jobs": 1},
        table_params={"enable_categorical": True},
    ),
    "lightgbm": Learner(
        "lightgbm",
        "LGBMClassifier",
        "LGBMRegressor",
        table="native",
        most_levels=np.inf,
        params={"n_jobs": 1, "verbose": -1},
    ),
    "catboost": Learner(
        "catboost",
        "CatBoostClassifier",
        "CatBoostRegressor",
        table="strings",
        params={"thread_count": 1, "verbose": False, "allow_writing_files": False},
        seed="random_seed",
    ),
    "xrfm": Learner(
        "pytabkit",
        "XRFM_D_Classifier",
        "XRFM_D_Regressor",
        table="imputed",
        most_levels=np.inf,
        params=PYTABKIT,
        wakes_slowly=True,
    ),
    "realmlp": Learner(
        "pytabkit",
        "RealMLP_TD_S_Classifier",
        "RealMLP_TD_S_Regressor",
        table="imputed",
        most_levels=np.inf,
        params=PYTABKIT,
        max_rows=1000,
        wakes_slowly=True,
    ),
}
BASELINES = [name for name in LEARNERS if name != OURS]


@lru_cache
def wake(name, task):
    """Let a learner import and compile what its first fit needs, once in a process."""
    if LEARNERS[name].wakes_slowly:
        X = np.random.default_rng(0).standard_normal((40, 2))
        y = np.arange(40) % 2 if task == "classification" else X[:, 0]
        LEARNERS[name].build(task, 0, {}, X).fit(X, y).predict(X)
