"""Refinement of a chain: loops meet their targets at fine steps, whatever drives them away."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skcode.fields import UniversalFields
from skcode.geometry.interpolation._batched_families import batched_fields
from skcode.geometry.interpolation._chain import Setting, chain
from skcode.geometry.interpolation._continuation import Report
from skcode.geometry.interpolation._paths import plan_paths
from skcode.geometry.interpolation._refinement import Refinement
from skcode.geometry.interpolation._shooting import ShootingIterate, propagate
from skcode.geometry.interpolation._tuning import REFINEMENT

SPREAD = 0.5
X, Y = np.random.default_rng(0).random((2, 5, 2))


@pytest.fixture(scope="module")
def segments():
    many = batched_fields(UniversalFields().draw(2, rng=0))
    setting = Setting(many, SPREAD, 100, np.random.default_rng(1), Report())
    with np.errstate(all="ignore"):  # of the candidates for a loop some explode
        segments, s = chain(setting, plan_paths(X, Y, 0.5, [np.zeros_like(X)]), X, 1e-8, 200)
    assert s == 1.0
    assert len(segments) > 2
    return segments


def pushed(segment, size):
    """The loop with controls that are not quite its own."""
    noise = np.random.default_rng(2).standard_normal(segment.z.w.shape)
    w = segment.z.w * (1 + size * noise)
    return replace(segment, z=ShootingIterate(w, segment.z.x))


def ends(segments, parts, steps):
    """Where the loops end, one interval after the other."""
    x, result = X, []
    for segment, part, n in zip(segments, parts, steps, strict=True):
        x = propagate(segment.solver.batched, part.w[None], x, n)[0, -1]
        result.append(x)
    return result


@pytest.mark.parametrize("size", [0.0, 1e-4, 3e-3])
def test_loops_that_drift_are_brought_back_to_the_plan(segments, size):
    chained = [pushed(segments[0], size), *segments[1:]]
    last = Refinement(chained, X, Y, 1e-9)
    adrift = abs(ends(chained, last.parts, last.steps)[0] - segments[0].z.x[-1]).max()
    assert (adrift > REFINEMENT.drift * SPREAD) == (size > 1e-3)
    end = last.run()
    assert_allclose(end, Y, atol=1e-9)
    finer = ends(segments, last.parts, [2 * n for n in last.steps])
    assert_allclose(finer[-1], Y, atol=1e-9)
    for x, segment in zip(finer[:-1], segments[:-1], strict=True):
        assert_allclose(x, segment.z.x[-1], atol=REFINEMENT.drift * SPREAD)
    # loops that are where they were to be keep their controls
    same = [np.array_equal(p.w, s.z.w) for p, s in zip(last.parts, chained, strict=True)]
    assert same[0] == (size < 1e-3)


def test_a_tolerance_below_rounding_ends_with_the_best_that_there_is(segments):
    part = segments[-4:]
    end = Refinement(part, part[0].z.x[0], Y, 1e-20).run()
    assert_allclose(end, Y, atol=1e-12)


def test_a_chain_that_explodes_is_not_followed_further(segments):
    chained = [pushed(segments[0], 1e3), *segments[1:]]
    last = Refinement(chained, X, Y, 1e-9)
    steps = last.steps
    with np.errstate(all="ignore"):
        assert not np.isfinite(last.run()).all()
    assert last.steps is steps
