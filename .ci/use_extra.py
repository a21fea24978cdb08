"""Use one extra, in an environment that holds it alone: python use_extra.py NAME."""

import io
import sys
import tempfile
import warnings

import joblib
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skcode import ControlledODERegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 3))
y = X[:, 0] * X[:, 1]
OPTIONS = {"n_fields": 4, "n_members": 1, "max_iter": 2, "random_state": 0}


def fitted(**options):
    # two steps are enough to see that it works
    warnings.simplefilter("ignore", ConvergenceWarning)
    return ControlledODERegressor(**OPTIONS | options).fit(X, y)


def use_plot():
    import matplotlib

    matplotlib.use("Agg")
    from skcode.plotting import LossCurveDisplay

    LossCurveDisplay.from_estimator(fitted()).figure_.savefig(io.BytesIO())


def use_onnx():
    import onnxruntime

    from skcode.export import to_onnx

    model = fitted()
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"X": X})[0], model.predict(X), atol=1e-5)


def use_skops():
    import skops.io

    model = fitted()
    again = skops.io.loads(skops.io.dumps(model), trusted=["skcode.ControlledODERegressor"])
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def use_dask():
    import dask.array as da
    from distributed import Client

    alone = fitted().predict(X)
    client = Client(n_workers=1, threads_per_worker=2, dashboard_address=None)
    with client, joblib.parallel_config("dask"):
        shared = fitted(n_jobs=2)
    np.testing.assert_array_equal(shared.predict(X), alone)
    lazily = da.from_array(X, chunks=(50, -1)).map_blocks(shared.predict, drop_axis=1, dtype=float)
    # another number of rows may sum in another order
    np.testing.assert_allclose(lazily.compute(), alone)


def use_ray():
    import ray
    from ray.util.joblib import register_ray

    alone = fitted().predict(X)
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=tempfile.mkdtemp())
    register_ray()
    with joblib.parallel_config("ray"):
        shared = fitted(n_jobs=2)
    np.testing.assert_array_equal(shared.predict(X), alone)
    ray.shutdown()


if __name__ == "__main__":
    globals()[f"use_{sys.argv[1]}"]()
    print(f"{sys.argv[1]}: used alone")
