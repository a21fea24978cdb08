"""What skcode needs of the private interfaces of others, stated where they can be replaced."""

import inspect
import sys
import warnings
from numbers import Real
from types import SimpleNamespace

import numpy as np
import pytest
from joblib import Parallel, parallel_config
from joblib.externals.loky import process_executor
from sklearn.base import BaseEstimator

from skcode.utils._joblib import (
    backend_of,
    runs_in_threads,
    runs_on_dask,
    runs_on_ray,
    set_default_ray_options,
)
from skcode.utils._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    available_if,
    check_matplotlib_support,
    check_sample_weight,
    fit_context,
    validate_parameters,
)


class Specification(BaseEstimator):
    _parameter_constraints = {
        "size": [Interval(Real, 0, 1, closed="left"), None],
        "kind": [StrOptions({"a", "b"})],
        "part": [HasMethods(["fit"]), None],
    }

    def __init__(self, size=0.5, kind="a", part=None):
        self.size = size
        self.kind = kind
        self.part = part

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Store how many rows there are."""
        self.n_rows_ = len(X)
        return self

    @available_if(lambda self: self.kind == "a")
    def only_of_a(self):
        """Exist for one kind alone."""
        return "a"


@pytest.mark.parametrize("check", [validate_parameters, lambda s: s.fit([1, 2])])
@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"size": 1.0}, "size"),
        ({"size": "x"}, "size"),
        ({"kind": "c"}, "kind"),
        ({"part": 3}, "part"),
    ],
)
def test_parameters_out_of_range_are_value_errors_that_name_them(check, parameters, named):
    with pytest.raises(ValueError, match=f"The '{named}' parameter of Specification must be"):
        check(Specification(**parameters))


@pytest.mark.parametrize("parameters", [{}, {"size": 0.0}, {"size": None}, {"kind": "b"}])
def test_parameters_in_range_pass(parameters):
    validate_parameters(Specification(**parameters))
    assert Specification(**parameters).fit([1, 2]).n_rows_ == 2


def test_methods_may_exist_for_some_instances():
    assert Specification().only_of_a() == "a"
    assert not hasattr(Specification(kind="b"), "only_of_a")


def test_weights_become_an_array_of_doubles_or_an_error():
    X = np.zeros((3, 1), np.float32)
    weight = check_sample_weight([1, 2, 0], X)
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight, [1, 2, 0])
    np.testing.assert_array_equal(check_sample_weight(2.0, X), [2, 2, 2])
    with pytest.raises(ValueError, match="[Nn]egative"):
        check_sample_weight([1, -1, 1], X)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(2,\)"):
        check_sample_weight([1, 1], X)


def test_a_missing_matplotlib_is_told_with_the_name_of_the_caller(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="Display.plot requires matplotlib"):
        check_matplotlib_support("Display.plot")


@pytest.mark.parametrize(
    ("backend", "threads"), [("threading", True), ("loky", False), ("multiprocessing", False)]
)
def test_a_pool_says_where_its_calls_run(backend, threads):
    with parallel_config(backend=backend):
        pool = Parallel(n_jobs=2, prefer="threads")
    assert backend_of(pool) is not None
    assert runs_in_threads(pool) == threads
    assert not runs_on_dask(pool)
    assert not runs_on_ray(pool)


def test_threads_are_taken_where_they_are_preferred():
    assert runs_in_threads(Parallel(n_jobs=2, prefer="threads"))


def test_a_worker_that_was_idle_for_long_stops_no_test():
    """An error in the thread of loky that hands out results would leave all calls without any."""
    message = "A worker stopped while some jobs were given"
    assert message in inspect.getsource(process_executor)
    warnings.warn(f"{message} to the executor.", UserWarning, stacklevel=1)


def test_clusters_are_told_by_the_modules_of_their_backends():
    dask = pytest.importorskip("joblib._dask").DaskDistributedBackend
    pool = Parallel(n_jobs=2)
    pool._backend = object.__new__(dask)
    assert runs_on_dask(pool)
    pool._backend = object.__new__(type("Backend", (), {"__module__": "ray.util.joblib"}))
    assert runs_on_ray(pool)
    assert not runs_on_dask(pool)


def test_backends_of_clusters_have_what_scattering_reads():
    dask = pytest.importorskip("joblib._dask").DaskDistributedBackend
    source = inspect.getsource(dask)
    assert "self.client =" in source
    assert "self.data_futures =" in source


def test_options_of_ray_are_those_of_the_user_where_there_are_some():
    backend = SimpleNamespace(ray_remote_args=None)
    set_default_ray_options(backend, {"max_restarts": -1})
    set_default_ray_options(backend, {"max_restarts": 3})
    assert backend.ray_remote_args == {"max_restarts": -1}


def test_skl2onnx_makes_a_type_of_an_element_type_and_a_shape():
    pytest.importorskip("skl2onnx")
    from onnx import TensorProto
    from skl2onnx.common import data_types

    from skcode.export._skl2onnx import tensor_type

    for element, kind in (
        (TensorProto.FLOAT, data_types.FloatTensorType),
        (TensorProto.DOUBLE, data_types.DoubleTensorType),
        (TensorProto.INT64, data_types.Int64TensorType),
        (TensorProto.STRING, data_types.StringTensorType),
    ):
        made = tensor_type(element, ["N", 3])
        assert isinstance(made, kind)
        assert list(made.shape) == [None, 3]
