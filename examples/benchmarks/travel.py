"""
Formats in which a fitted model travels
=======================================

Size, and median time for one row, of a default regressor in each format.

    python examples/benchmarks/travel.py
"""

import io
import pickle
import time

import joblib
import numpy as np
import onnxruntime
import skops.io

from skcode import ControlledODERegressor
from skcode.export import to_onnx

REPEATS = 200


def median_milliseconds(function):
    """Median time of a call, after a warm-up."""
    function()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def through_joblib(model):
    """Bytes of joblib.dump, and the model that joblib.load reads."""
    file = io.BytesIO()
    joblib.dump(model, file, compress=3)
    return file.getvalue(), joblib.load(io.BytesIO(file.getvalue()))


def main():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (1000, 10))
    y = np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2]
    model = ControlledODERegressor(random_state=0).fit(X, y)
    row = X[:1]

    pickled = pickle.dumps(model)
    compressed, from_joblib = through_joblib(model)
    trusted = [f"{type(model).__module__}.{type(model).__qualname__}"]
    dumped = skops.io.dumps(model)
    exported = to_onnx(model).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported, options)
    from_pickle, from_skops = pickle.loads(pickled), skops.io.loads(dumped, trusted=trusted)
    callables = {
        "pickle": (pickled, lambda: from_pickle.predict(row)),
        "joblib, compressed": (compressed, lambda: from_joblib.predict(row)),
        "skops": (dumped, lambda: from_skops.predict(row)),
        "ONNX": (exported, lambda: session.run(None, {"X": row})[0]),
    }
    print(f"{model.n_parameters_} trained numbers, {len(model.ensemble_)} members")
    print("| format | kB | ms for one row | largest deviation |\n|---|---|---|---|")
    for name, (data, predict) in callables.items():
        deviation = np.abs(predict() - model.predict(row)).max()
        size, latency = len(data) / 1e3, median_milliseconds(predict)
        print(f"| {name} | {size:.0f} | {latency:.2f} | {deviation:.1e} |")


if __name__ == "__main__":
    main()
