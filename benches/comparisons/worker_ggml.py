"""ggml's matrix products, through the libraries of llama-cpp-python, with a pool of threads that lives on."""
import argparse
import ctypes
from ctypes import POINTER, Structure, c_bool, c_int, c_int64, c_size_t, c_uint8, c_uint32, c_void_p
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import worker

LIBRARIES = Path(llama_cpp.__file__).parent / "lib"
BASE = ctypes.CDLL(str(LIBRARIES / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
CPU = ctypes.CDLL(str(LIBRARIES / "libggml-cpu.so"))
PAGE = 2 << 20
F32, BF16 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.BF16


class Init(Structure):
    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


class PoolParams(Structure):
    _fields_ = [
        ("cpumask", c_bool * 512), ("n_threads", c_int), ("prio", c_int), ("poll", c_uint32), ("strict_cpu", c_bool),
        ("paused", c_bool),
    ]  # fmt: skip


class Plan(Structure):
    _fields_ = [
        ("work_size", c_size_t), ("work_data", POINTER(c_uint8)), ("n_threads", c_int), ("threadpool", c_void_p),
        ("abort_callback", c_void_p), ("abort_callback_data", c_void_p), ("use_ref", c_bool),
    ]  # fmt: skip


def declared(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


init = declared(BASE, "ggml_init", c_void_p, Init)
new_tensor = declared(BASE, "ggml_new_tensor_2d", c_void_p, c_void_p, c_int, c_int64, c_int64)
get_data = declared(BASE, "ggml_get_data", c_void_p, c_void_p)
mul_mat = declared(BASE, "ggml_mul_mat", c_void_p, c_void_p, c_void_p, c_void_p)
new_graph = declared(BASE, "ggml_new_graph", c_void_p, c_void_p)
expand = declared(BASE, "ggml_build_forward_expand", None, c_void_p, c_void_p)
pool_params = declared(BASE, "ggml_threadpool_params_default", PoolParams, c_int)
pool_new = declared(CPU, "ggml_threadpool_new", c_void_p, POINTER(PoolParams))
cpu_init = declared(CPU, "ggml_cpu_init", None)
plan_of = declared(CPU, "ggml_graph_plan", Plan, c_void_p, c_int, c_void_p)
compute = declared(CPU, "ggml_graph_compute", c_int, c_void_p, POINTER(Plan))


def product(kind, threads, pool, m, k, n):
    random = np.random.default_rng(0)
    x, w = (random.random(shape, dtype=np.float32) - 0.5 for shape in [(m, k), (n, k)])
    # NumPy uses huge pages: with them lm_head takes a fifth less
    size = 4 * (m * k + n * k + m * n) + (8 << 20)
    memory = np.zeros(size + PAGE, np.uint8)
    context = init(Init(size, memory.ctypes.data + -memory.ctypes.data % PAGE, False))
    weight, input_ = new_tensor(context, kind, k, n), new_tensor(context, F32, k, m)
    stored = np.ascontiguousarray(w if kind == F32 else gguf.quants.quantize(w, kind))
    ctypes.memmove(get_data(weight), stored.ctypes.data, stored.nbytes)
    ctypes.memmove(get_data(input_), x.ctypes.data, x.nbytes)
    output, graph = mul_mat(context, weight, input_), new_graph(context)
    expand(graph, output)
    plan = plan_of(graph, threads, pool)
    work = (c_uint8 * max(plan.work_size, 1))()
    plan.work_data = ctypes.cast(work, POINTER(c_uint8))

    def run(alive=(memory, work)):
        status = compute(graph, ctypes.byref(plan))
        assert status == 0, status

    run()
    found = np.ctypeslib.as_array(ctypes.cast(get_data(output), POINTER(ctypes.c_float)), (m, n))
    error, bound = np.abs(found - x @ w.T), np.abs(x) @ np.abs(w).T * (1e-5 if kind == F32 else 8e-3)
    assert (error <= bound).all(), "ggml computes something else"
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    threads = parser.parse_args().threads
    cpu_init()
    params = pool_params(threads)
    pool = pool_new(ctypes.byref(params))
    work = {name: (product(F32, threads, pool, *sizes), 1) for name, sizes in worker.PRODUCTS.items()}
    for name in worker.BF16_PRODUCTS:
        work[f"{name}_bf16"] = (product(BF16, threads, pool, *worker.PRODUCTS[name]), 1)
    worker.serve(f"ggml of llama-cpp-python {llama_cpp.__version__}", work)


if __name__ == "__main__":
    main()
