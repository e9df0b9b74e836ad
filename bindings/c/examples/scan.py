"""The selective scan from Python: ctypes and numpy, no binding generator.

Compares the library with the formula of the official `selective_scan_ref` (state-spaces/mamba), in float64, over
shapes with and without the optional parts, and the state after it. `python scan.py libmamba_kernels.so`
"""

import ctypes
import sys

import numpy as np

F32, OK = 0, 0


class Rows(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("rows", ctypes.c_size_t), ("cols", ctypes.c_size_t), ("stride", ctypes.c_size_t)]


class Floats(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class SelectiveScan(ctypes.Structure):
    _fields_ = [
        ("dtype", ctypes.c_uint32), ("delta_softplus", ctypes.c_uint32), ("n_groups", ctypes.c_size_t),
        ("u", Rows), ("delta", Rows), ("a", Floats), ("b", Rows), ("c", Rows), ("d", Floats), ("z", Rows),
        ("delta_bias", Floats), ("state", Floats), ("output", Rows),
    ]


def rows(array):
    """A float32 matrix of which the last axis is contiguous: a column slice needs no copy."""
    if array is None:
        return Rows()
    if array.dtype != np.float32 or array.ndim != 2 or (array.shape[1] > 1 and array.strides[1] != 4):
        raise TypeError("a float32 matrix with contiguous rows is needed")
    count, cols = array.shape
    stride, rest = divmod(array.strides[0], 4) if count > 1 else (cols, 0)  # one row has any
    if stride < cols or rest:
        raise TypeError("rows one after the other are needed: neither broadcast nor reversed")
    return Rows(array.ctypes.data, count, cols, stride)


def floats(array):
    if array is None:
        return Floats()
    if array.dtype != np.float32 or not array.flags.c_contiguous:
        raise TypeError("a contiguous float32 array is needed")
    return Floats(array.ctypes.data, array.size)


class Kernels:
    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.mamba_last_error.restype = ctypes.c_char_p
        self.lib.mamba_cpu_new.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
        self.lib.mamba_batch_new.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        self.lib.mamba_selective_scan.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        self.lib.mamba_batch_free.argtypes = [ctypes.c_void_p]
        if self.lib.mamba_abi_version() != 1:
            raise RuntimeError("this program knows version 1 of the interface")
        self.cpu = ctypes.c_void_p()
        self.check(self.lib.mamba_cpu_new(None, 0, ctypes.byref(self.cpu)))

    def check(self, status):
        if status != OK:
            raise ValueError(self.lib.mamba_last_error().decode())

    def selective_scan(self, u, delta, a, b, c, d=None, z=None, delta_bias=None, delta_softplus=False, state=None):
        """u, delta, z: [tokens, channels]; a: [d_state, channels]; b, c: [tokens, d_state]. `state` is updated."""
        offsets, slots = np.array([0, len(u)], np.uintp), np.zeros(1, np.uint32)
        batch, output = ctypes.c_void_p(), np.empty_like(u, order="C")
        self.check(self.lib.mamba_batch_new(offsets.ctypes.data, slots.ctypes.data, 1, ctypes.byref(batch)))
        args = SelectiveScan(
            F32, delta_softplus, 1, rows(u), rows(delta), floats(a), rows(b), rows(c), floats(d), rows(z),
            floats(delta_bias), floats(state), rows(output),
        )
        try:
            self.check(self.lib.mamba_selective_scan(self.cpu, batch, ctypes.byref(args)))
        finally:
            self.lib.mamba_batch_free(batch)
        return output


def selective_scan_ref(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """The official reference's formula and layout: u, delta, z [batch, channels, tokens]; A [channels, d_state];
    B, C [batch, d_state, tokens]. Returns the output and the last state [batch, channels, d_state]."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = np.logaddexp(0, delta)
    x = np.zeros((u.shape[0], *A.shape))
    delta_a = np.exp(np.einsum("bdl,dn->bdln", delta, A))
    delta_b_u = np.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    ys = []
    for i in range(u.shape[2]):
        x = delta_a[:, :, i] * x + delta_b_u[:, :, i]
        ys.append(np.einsum("bdn,bn->bd", x, C[:, :, i]))
    y = np.stack(ys, axis=2)
    if D is not None:
        y = y + u * D[:, None]
    if z is not None:
        y = y * z / (1 + np.exp(-z))
    return y, x


def main(path):
    kernels = Kernels(path)
    rng = np.random.default_rng(7)
    worst = 0.0
    for tokens, channels, d_state, optional in [(1, 1, 1, False), (5, 7, 3, True), (64, 40, 16, True), (130, 33, 16, False)]:
        draw = lambda *shape: rng.standard_normal(shape, np.float32)
        u, delta, bc = draw(tokens, channels), draw(tokens, channels), draw(tokens, 2 * d_state)
        b, c = bc[:, :d_state], bc[:, d_state:]  # views, as x_proj makes them
        a = -np.exp(draw(d_state, channels))
        d, z, bias = (draw(channels), draw(tokens, channels), draw(channels)) if optional else (None, None, None)
        state = np.zeros((d_state, channels), np.float32)
        y = kernels.selective_scan(u, delta, a, b, c, d, z, bias, True, state)

        wide = lambda array: None if array is None else array.astype(np.float64)
        batched = lambda array: None if array is None else wide(array).T[None]
        expected, last = selective_scan_ref(
            batched(u), batched(delta), wide(a).T, batched(b), batched(c), wide(d), batched(z), wide(bias), True
        )
        # the tolerance of the official tests in float32
        np.testing.assert_allclose(y, expected[0].T, rtol=6e-4, atol=2e-3)
        np.testing.assert_allclose(state, last[0].T, rtol=6e-4, atol=2e-3)
        scale = np.abs(expected).max()
        worst = max(worst, np.abs(y - expected[0].T).max() / scale)
    # float32 has 24 bits: the rounding error of some hundred steps is far below the official tolerance
    assert worst < 1e-5, worst

    try:
        kernels.selective_scan(u, delta[:-1], a, b, c)
        raise SystemExit("a short array was not refused")
    except ValueError as error:
        assert str(error) == "selective_scan: argument `delta`: expected rows of u = 130, found 129", error
    for view in [np.broadcast_to(u[:1], u.shape), u[::-1]]:  # the library would read past their memory
        try:
            kernels.selective_scan(view, delta, a, b, c)
            raise SystemExit("a view whose rows do not follow each other was not refused")
        except TypeError:
            pass
    print(f"ok: largest difference {worst:.1e} of the largest output; the error read: delta has 129 rows, not 130")


if __name__ == "__main__":
    main(*sys.argv[1:])
