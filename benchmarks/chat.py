"""How fast a chat is: llama.cpp by itself, Atelier's engine, Atelier's API, and transformers.

    python -m benchmarks.chat [--clients 1 2 4] [--tokens 128] [--rounds 5]

SmolLM2-135M, greedy, in turn within one run: ``raw`` is ``xllamacpp.Server`` as it comes, with as
many threads as Atelier gives it (``raw, all cores``: with one for each core for a single answer as
well); ``engine`` is ``pipelines.chat.engine``; ``API`` is a studio of its own over HTTP by the
``openai`` client; ``transformers`` is its ``generate`` on the same file. Each client has a prompt
of its own. Printed: the median of all rounds of tokens a second (all clients together), of seconds
to the first token, and the ratio to ``raw`` of the same round. With a GPU, ``--gpu`` runs a random
model of LLaMA-3-8B's shape by the transformers backend in bf16 and 4 bits, and prints GB/s of its
weights.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = Path("/nonexistent")  # a home folder with nothing in it
SUBJECTS = ("a duck", "a lighthouse", "two brothers", "a stolen teapot", "winter", "a clock")

# What a contestant does: answer a prompt with at most so many tokens; (tokens, seconds to first).
Ask = Callable[[str, int], tuple[int, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], help="contestants to leave out")
    parser.add_argument("--gpu", action="store_true")
    options = parser.parse_args()
    if options.gpu:
        from benchmarks.chat_gpu import measure

        measure()
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))
    os._exit(0)  # llama.cpp's servers in this process need no orderly end


def compare(options: argparse.Namespace, home: Path) -> None:
    from pipelines.chat.backends.llama_cpp import cores, threads

    for_one = threads(smollm2().stat().st_size)
    studio = Api(home / "studio")
    contestants: dict[str, Ask] = {
        "raw": raw(for_one, cores()),
        "raw, all cores": raw(cores(), cores()),
        **in_process(home / "engine"),
        "API": studio.ask,
    }
    contestants = {n: ask for n, ask in contestants.items() if n not in options.without}
    print(f"SmolLM2-135M Q4_1, greedy, {options.tokens} tokens")
    print(f"threads: {for_one} for one answer, {cores()} for several")
    for ask in contestants.values():
        ask("Say hello.", 8)
    print(f"{'clients':>7}  {'':<15}{'tok/s':>8}{'first token':>13}{'of raw':>8}{'of one':>8}")
    one: dict[str, float] = {}
    try:
        for clients in options.clients:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
            for number in range(options.rounds):
                for name, ask in contestants.items():
                    found[name].append(together(ask, clients, options.tokens, number))
            for name, rounds in found.items():
                speed = statistics.median(speed for speed, _ in rounds)
                first = statistics.median(first for _, first in rounds)
                of_raw = statistics.median(
                    mine / theirs
                    for (mine, _), (theirs, _) in zip(rounds, found["raw"], strict=True)
                )
                one.setdefault(name, speed)
                print(
                    f"{clients:>7}  {name:<15}{speed:>8.1f}{first:>11.2f} s{of_raw:>8.2f}"
                    f"{speed / one[name]:>8.2f}",
                    flush=True,
                )
    finally:
        studio.close()


def together(ask: Ask, clients: int, tokens: int, number: int) -> tuple[float, float]:
    """Tokens a second of all clients, and the mean of their seconds to the first token."""
    answers: list[tuple[int, float]] = []

    def client(index: int) -> None:
        subject = SUBJECTS[(number + index) % len(SUBJECTS)]
        # Another begin each time: no part of it has been read before.
        prompt = f"{number}.{index}: write a long story about {subject}, with all details."
        answers.append(ask(prompt, tokens))

    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    return sum(count for count, _ in answers) / seconds, statistics.mean(f for _, f in answers)


def smollm2() -> Path:
    """The file that comes with Atelier."""
    from pipelines.chat.catalog import ChatCatalog, find
    from pipelines.chat.requests import STARTER

    return find(ChatCatalog(NOWHERE).get(STARTER), NOWHERE)


def raw(one: int, several: int) -> Ask:
    """llama.cpp's server in this process, asked without any HTTP."""
    import xllamacpp

    from pipelines.chat.catalog import ChatCatalog
    from pipelines.chat.requests import STARTER

    entry = ChatCatalog(NOWHERE).get(STARTER)
    params = xllamacpp.CommonParams()
    params.model.path = str(smollm2())
    params.n_ctx, params.n_parallel = entry.context_length * entry.parallel, entry.parallel
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = one, several
    params.port, params.verbosity, params.fit_params = 0, 0, False
    server = xllamacpp.Server(params)

    def ask(prompt: str, tokens: int) -> tuple[int, float]:
        start, first, count = time.perf_counter(), None, 0

        def take(chunk: dict[str, Any]) -> None:
            nonlocal first, count
            if chunk.get("choices") and chunk["choices"][0]["delta"].get("content"):
                count += 1
                first = first or time.perf_counter() - start

        server.handle_chat_completions(
            {
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": tokens,
                "temperature": 0,
                "stream": True,
            },
            take,
        )
        return count, first or 0.0

    return ask


def in_process(home: Path) -> dict[str, Ask]:
    """Atelier's engine with a model cache, and transformers' ``generate`` on the cache's model."""
    import torch

    from pipelines.chat.engine import run
    from pipelines.chat.entries import INSPECT_PREFIX
    from pipelines.chat.events import Words
    from pipelines.chat.requests import STARTER, ChatMessage, ChatRequest
    from pipelines.core.cache import ModelCache
    from pipelines.loading import Loader
    from pipelines.models.catalog import Catalog

    home.mkdir()
    budget = 8 * 10**9
    loader = Loader(Catalog(home), home, offline=True, budget_bytes=budget)
    cache = ModelCache(loader.load, "cpu", budget, home=home, offline=True)
    turn = threading.Lock()  # transformers answers one after the other

    def request(prompt: str, tokens: int) -> ChatRequest:
        return ChatRequest(
            messages=(ChatMessage(role="user", content=prompt),),
            temperature=0,
            repetition_penalty=1,
            max_new_tokens=tokens,
        )

    def engine(prompt: str, tokens: int) -> tuple[int, float]:
        start, first, count = time.perf_counter(), None, 0
        for event in run(request(prompt, tokens), cache, threading.Event()):
            if isinstance(event, Words):
                first = first or time.perf_counter() - start
                count += event.tokens
        return count, first or 0.0

    def generate(prompt: str, tokens: int) -> tuple[int, float]:
        start = time.perf_counter()
        with turn, cache.lease(INSPECT_PREFIX + STARTER) as held, torch.inference_mode():
            ids = torch.tensor([held.prompt(request(prompt, tokens).messages)])
            first = Clock(start)
            out = held.model.generate(
                ids, do_sample=False, max_new_tokens=tokens, streamer=first, pad_token_id=2
            )
            return out.shape[1] - ids.shape[1], first.seconds or 0.0

    return {"engine": engine, "transformers": generate}


class Clock:
    """A streamer for transformers that only notes when the first token comes."""

    def __init__(self, start: float) -> None:
        self._start, self._calls, self.seconds = start, 0, None

    def put(self, value: Any) -> None:
        self._calls += 1
        if self._calls == 2:  # the first call has the prompt
            self.seconds = time.perf_counter() - self._start

    def end(self) -> None:
        pass


class Api:
    """A studio in a process of its own, asked by the ``openai`` client."""

    def __init__(self, home: Path) -> None:
        import openai

        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "app.py", "--home", str(home), "--port", str(port), "--offline"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        self._process.stdout.readline()
        self._client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
        )

    def ask(self, prompt: str, tokens: int) -> tuple[int, float]:
        start, first, count = time.perf_counter(), None, 0
        stream = self._client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": prompt}],
            max_tokens=tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"repetition_penalty": 1},
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.perf_counter() - start
            if chunk.usage:
                count = chunk.usage.completion_tokens
        return count, first or 0.0

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


if __name__ == "__main__":
    main()
