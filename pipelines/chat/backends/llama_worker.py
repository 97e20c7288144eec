"""llama.cpp in a process of its own: ``python -m pipelines.chat.backends.llama_worker``.

Not in the studio's process, because llama.cpp ends the process it is in when a file makes one of
its assertions fail, takes over SIGINT and SIGTERM, and gives memory back only when it ends. Here it
may do all three.

Settings come as one JSON object on standard input; ``{"address": …}`` or ``{"error": …}`` goes to
standard output. The process ends when standard input does, that is with the studio, however that
ended.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def parameters(settings: dict[str, Any]) -> Any:
    """``xllamacpp.CommonParams`` for the settings of :class:`.llama_cpp.LlamaCpp`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.n_ctx = settings["context"] * settings["parallel"]
    params.n_parallel = settings["parallel"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["batch_threads"]
    params.n_batch = settings["batch"]
    params.n_gpu_layers = settings["gpu_layers"]
    params.fit_params = False  # the context is what the model's file says
    params.hostnames = [settings["host"]]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.cache_ram_mib = settings["prompt_cache_mib"]
    params.endpoint_slots = False  # would show others' prompts
    params.ui = False
    params.chat_template = settings.get("chat_template", "")  # in the place of the file's own
    if settings.get("embedding"):
        params.embedding = True
        params.n_ubatch = settings["batch"]  # a text is read at once
        # Else texts that are read beside others get other vectors than alone.
        params.kv_unified = True
        if settings["pools_by_mean"]:  # else as the file says
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.verbosity = 1  # errors only; they are the cause that a person is told
    return params


def main() -> None:
    import xllamacpp

    settings = json.loads(sys.stdin.readline())
    # llama.cpp prints a line here and there; the answer has this stream for itself.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        server = xllamacpp.Server(parameters(settings))
    except Exception as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)
        sys.exit(1)  # in order: what llama.cpp has to say is written by a thread of its own
    print(json.dumps({"address": server.listening_address}), file=answers, flush=True)
    while sys.stdin.readline():
        pass
    os._exit(0)  # not by way of llama.cpp's orderly end, which waits for those who are listening


if __name__ == "__main__":
    main()
