"""llama.cpp, through the C interface of llama-cpp-python."""
import argparse

import llama_cpp as llama
import worker


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    silent = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(silent, None)
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(args.model.encode(), llama.llama_model_default_params())
    params = llama.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 1024, 512, 512
    params.n_threads = params.n_threads_batch = args.threads
    context = llama.llama_init_from_model(model, params)
    memory = llama.llama_get_memory(context)

    def decode(tokens):
        array = (llama.llama_token * len(tokens))(*tokens)
        code = llama.llama_decode(context, llama.llama_batch_get_one(array, len(tokens)))
        assert code == 0, code

    def prefill(length):
        llama.llama_memory_clear(memory, True)
        decode(worker.prompt(length))
        llama.llama_get_logits_ith(context, -1)

    def step(count):
        llama.llama_memory_clear(memory, True)
        for token in worker.prompt(count):
            decode([token])
            llama.llama_get_logits_ith(context, -1)

    def logits():
        llama.llama_memory_clear(memory, True)
        decode(worker.CHECK)
        return llama.llama_get_logits_ith(context, -1)[:16]

    worker.serve(
        f"llama.cpp of llama-cpp-python {llama.__version__}",
        {"prefill": (lambda: prefill(512), 512), "decode": (lambda: step(32), 32)},
        logits,
    )


if __name__ == "__main__":
    main()
