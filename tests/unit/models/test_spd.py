"""The tiled inverse against numpy's, and the same digits for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recsmith import parallel
from recsmith.models.linear.spd import gram, inverse


def spd(n: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n + 5, n))
    return x.T @ x + n * np.eye(n)


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 33, 64, 100])
def test_inverse_is_that_of_numpy(n):
    matrix = spd(n)
    found = inverse(matrix.copy(), tile=32)
    np.testing.assert_allclose(found, np.linalg.inv(matrix), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(found, found.T, rtol=1e-9, atol=1e-14)


def test_default_tile_and_a_single_tile_agree():
    matrix = spd(300)
    np.testing.assert_allclose(
        inverse(matrix.copy()), inverse(matrix.copy(), tile=1000), rtol=1e-9, atol=1e-14
    )


def test_float32_stays_float32():
    matrix = spd(40).astype(np.float32)
    found = inverse(matrix.copy(), tile=16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found @ matrix, np.eye(40), atol=1e-4)


def test_threads_do_not_change_a_bit():
    found = []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        try:
            found.append(inverse(spd(150), tile=32))
        finally:
            parallel.set_threads(None)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_argument_becomes_the_cholesky_factor():
    matrix = spd(70)
    factor = np.linalg.cholesky(matrix)
    inverse(matrix, tile=32)
    np.testing.assert_allclose(np.tril(matrix), factor, rtol=1e-9)


@pytest.mark.parametrize("bad", [0, 40, 69])
def test_not_positive_definite_is_an_error(bad):
    matrix = spd(70)
    matrix[bad, bad] = -1
    with pytest.raises(np.linalg.LinAlgError):
        inverse(matrix, tile=32)


def test_gram_is_the_lower_triangle_of_the_product():
    rng = np.random.default_rng(2)
    x = sparse.csr_array(rng.random((90, 200)).astype(np.float32) * (rng.random((90, 200)) < 0.1))
    np.testing.assert_allclose(gram(x), np.tril((x.T @ x).toarray()), rtol=1e-6)
    assert (gram(sparse.csr_array((0, 3), dtype=np.float32)) == 0).all()


def test_only_the_lower_triangle_is_read():
    a = np.random.default_rng(1).standard_normal((400, 300))
    full = a.T @ a + np.eye(300)
    np.testing.assert_array_equal(inverse(np.tril(full)), inverse(full.copy()))
