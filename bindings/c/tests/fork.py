"""Handles in children of `fork`, as Python's multiprocessing makes them. Needs no numpy. `python fork.py LIBRARY`

A child inherits the backend of its parent, whose other threads are inside of calls at that moment; it computes with it
and frees it.
"""

import ctypes
import hashlib
import multiprocessing
import sys
import threading

ROWS, COLUMNS = 96, 1024  # worth several threads


class Rows(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("rows", ctypes.c_size_t), ("cols", ctypes.c_size_t), ("stride", ctypes.c_size_t)]


class Floats(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class RmsNorm(ctypes.Structure):
    _fields_ = [
        ("input_dtype", ctypes.c_uint32), ("output_dtype", ctypes.c_uint32), ("eps", ctypes.c_float),
        ("input", Rows), ("residual", Rows), ("weight", Floats), ("output", Rows),
    ]


lib = ctypes.CDLL(sys.argv[1])
lib.mamba_last_error.restype = ctypes.c_char_p
lib.mamba_cpu_free.restype = None


def backend(threads):
    cpu = ctypes.c_void_p()
    if lib.mamba_cpu_new(None, ctypes.c_size_t(threads), ctypes.byref(cpu)):
        raise RuntimeError(lib.mamba_last_error().decode())
    return cpu


def norm(cpu):
    """A digest of the norms of some rows."""
    size = ROWS * COLUMNS
    values, output = (ctypes.c_float * size)(*(i % 97 - 40.0 for i in range(size))), (ctypes.c_float * size)()
    args = RmsNorm(eps=1e-5)
    args.input = Rows(ctypes.addressof(values), ROWS, COLUMNS, COLUMNS)
    args.output = Rows(ctypes.addressof(output), ROWS, COLUMNS, COLUMNS)
    if lib.mamba_rms_norm(cpu, ctypes.byref(args)):
        raise RuntimeError(lib.mamba_last_error().decode())
    return hashlib.sha256(bytes(output)).hexdigest()


def child(cpu, expected):
    assert norm(cpu) == expected, "other bits"
    lib.mamba_cpu_free(cpu)
    own = backend(3)
    assert norm(own) == expected, "other bits"
    lib.mamba_cpu_free(own)


def main():
    cpu, stop = backend(3), threading.Event()
    expected = norm(cpu)

    def work():
        while not stop.is_set():
            assert norm(cpu) == expected

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    fork, failed = multiprocessing.get_context("fork"), []
    for _ in range(10):
        process = fork.Process(target=child, args=(cpu, expected))
        process.start()
        process.join(60)
        if process.exitcode != 0:
            failed.append("hung" if process.exitcode is None else f"exit status {process.exitcode}")
            process.kill()
    stop.set()
    for worker in workers:
        worker.join()
    lib.mamba_cpu_free(cpu)
    if failed:
        sys.exit(f"children of fork: {failed}")
    print("children of fork: 10 of 10")


if __name__ == "__main__":
    main()
