"""GGUF models by llama.cpp (``xllamacpp``): the default on a CPU, several conversations at a time.

llama.cpp's own server runs in a child process (:mod:`pipelines.chat.backends.llama_worker`) and
batches whoever asks at the same time; this is its client. Prompts are sent as tokens, so that what
a person types never becomes a special token.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from pipelines.chat.backends.cancel import open_stream
from pipelines.chat.backends.gguf_template import MAX_TEMPLATE, TemplateTooLong, read_template
from pipelines.chat.backends.model_folder import check_pointer
from pipelines.chat.backends.server_sent_events import read_events
from pipelines.chat.context import context_exceeded
from pipelines.chat.entries import ChatEntry
from pipelines.chat.events import Finished, Reading, TokenOdds, Words
from pipelines.chat.rendering import process as rendering
from pipelines.chat.requests import ChatMessage, Generation
from pipelines.core.cache import Notes
from pipelines.core.child_process import LineProcess
from pipelines.core.errors import BadRequest, OutOfMemory, Stopped, Unavailable
from pipelines.core.files import temporary_root
from pipelines.core.limits import available_cores
from pipelines.core.messages import Message
from pipelines.core.sandbox import clean_environment

_log = logging.getLogger(__name__)

MAX_SOCKET_BYTES = 103  # of the path of a Unix socket; Linux allows 107, macOS 103
START_SECONDS = 600.0  # a large file on a slow disk
PROMPT_CACHE_MIB = 256  # of prompts that were read before, in RAM
SPINS = "300"
"""How often GNU OpenMP's threads look for one another before they sleep (``GOMP_SPINCOUNT``).
By its own measure they keep a core for milliseconds that whoever they wait for may
need: beside a picture, two threads of SmolLM2 made 14 tokens a second in the place of 40, those of
a model of 1.7 billion 2.6 in the place of 5.4. Alone they lose less than a tenth."""
SMALL_BYTES = 256 * 2**20  # a file whose matrices are done sooner than a sleeping thread wakes
BATCH = 256  # tokens of a prompt read at a time: how soon a stop is seen, and progress
_CERTAIN = 1e6  # a bias that makes a token sure
_LIKELIEST = 200  # tokens among which one is looked for before all are
# Where one of its assertions fails, it would call gdb, take seconds and print its stack.
_NO_DEBUGGER = {"GGML_NO_BACKTRACE": "1"}
_NO_JSON = "I"  # which none has but in texts
_TRIED_TOKENS = 4  # of an answer that is tried
_SCHEMAS = 256  # of which it is remembered whether answers can be held to them
_CAUSES = 2  # of the worker's lines, shown when it fails
_PREFIX = re.compile(r"^[\d.]+ [A-Z] (?:\w+ +)?\w+: ")  # time, level, and where in llama.cpp
_INNER_NAME = re.compile(r"[\w:]*::\w*")  # of C++, such as "_Map_base::at"
_LOCAL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}")
_PATH = re.compile(r"(?:/[^/\s'\"]+)+/([^/\s'\"]+)")


class LlamaCpp:
    """One GGUF model in a worker; see :class:`pipelines.core.cache.Loaded`.

    Args:
        entry: the model.
        path: its GGUF file.
        device: ``"cpu"``, ``"cuda"`` … Another one than the CPU is used when this ``xllamacpp`` is
            built for it.
        notes: told that it is loading; may raise to give up.

    Raises:
        Unavailable: llama.cpp cannot load it; with llama.cpp's reason.
    """

    movable = False  # a worker cannot be moved to RAM: it is ended and started again

    def __init__(self, entry: ChatEntry, path: Path, device: str, notes: Notes) -> None:
        check_pointer(path, entry.title)
        self._own_template = entry.chat_template or _template_of(path, entry)
        self.entry, self.device = entry, device
        self._closed = threading.Event()
        self._held: dict[str, bool] = {}  # schema → whether there is a grammar for it
        self._key = secrets.token_urlsafe(32)
        # Closed to other users.
        self._folder = Path(tempfile.mkdtemp(prefix="atelier-", dir=temporary_root()))
        self._log: IO[bytes] = (self._folder / "log").open("w+b")
        self._process = self._start(path)
        rendering.prepare()
        try:
            self._client = self._connect(notes)
            about = self._get("/props")
            self.context_length = min(
                int(about["default_generation_settings"]["n_ctx"]), entry.context_length
            )
            self._tokens = {name: about.get(name) or "" for name in ("bos_token", "eos_token")}
            self.vocabulary_size = int(self._get("/v1/models")["data"][0]["meta"]["n_vocab"])
            # Of a file without one, what llama.cpp takes for such.
            self.template = self._own_template or about.get("chat_template") or ""
            if self.context_length < 1:
                raise Unavailable(
                    "The file of {model} gives it a context of {count} tokens. Download it again.",
                    model=entry.title,
                    count=self.context_length,
                )
            self._specials = self._find_specials()
            self._adds_bos = self._begins_with_bos()
        except (LookupError, TypeError, ValueError) as error:  # of a file that it half knows
            _log.warning("llama.cpp's facts of %s cannot be read", entry.name, exc_info=error)
            failure = self._could_not_load("")
            self.close()
            raise failure from error
        except BaseException:
            self.close()
            raise

    # --- what the engine asks ---------------------------------------------------------------

    def prompt(self, messages: Sequence[ChatMessage], continue_last: bool = False) -> list[int]:
        """The tokens of a conversation, by the model's chat template.

        Raises:
            BadRequest: the template does not take such a conversation.
        """
        if not self.template:
            raise Unavailable(
                "{model} has no chat template. Give one as chat_template in its file.",
                model=self.entry.title,
            )
        parts = rendering.render(
            self.template,
            messages,
            self._specials.keys(),
            continue_last=continue_last,
            tokens=self._tokens,
        )
        ids: list[int] = []
        for part in parts:
            ids += [self._specials[part.text]] if part.special else self.tokenize(part.text)
        bos = self._specials.get(self._tokens["bos_token"])
        if self._adds_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The tokens of a text; ``special`` reads special tokens in it as such."""
        body = {"content": text, "add_special": False, "parse_special": special}
        return self._post("/tokenize", body)["tokens"]

    def complete_prompt(self, text: str) -> list[int]:
        """The tokens of a plain prompt, special tokens read as such."""
        body = {"content": text, "add_special": True, "parse_special": True}
        return self._post("/tokenize", body)["tokens"]

    def generate(
        self, prompt: Sequence[int], request: Generation, stop: threading.Event
    ) -> Iterator[Reading | Words | Finished]:
        """Goes on with ``prompt``; the last event is :class:`Finished`.

        Args:
            request: with all sampling values filled in.
            stop: set: the connection is closed, at which llama.cpp drops the task before its next
                token.

        Raises:
            Stopped: ``stop`` was set.
            ContextExceeded: the prompt does not fit.
            Unavailable: the worker has died; with its last words.
        """
        if len(prompt) >= self.context_length:
            raise context_exceeded(len(prompt), self.context_length)
        room = self.context_length - len(prompt)
        body = {
            "prompt": list(prompt),
            "stream": True,
            "return_progress": True,
            "cache_prompt": True,
            "n_predict": min(request.max_new_tokens or room, room),
            **sampling_options(request, self.context_length),
        }
        if request.json_schema is not None:
            self._check_schema(request.json_schema)
            body["json_schema"] = request.json_schema
        for data in self._stream(body, stop):
            yield self._event(data)

    def _check_schema(self, schema: dict[str, Any]) -> None:
        """Raises BadRequest where there is no grammar for a schema.

        llama.cpp goes on without one then, at once or after a token, and says nothing. So it is
        made to say what no JSON has outside of texts: where it does, nothing holds it back.
        """
        key = json.dumps(schema, sort_keys=True)
        if key not in self._held:
            (token,) = self.tokenize(_NO_JSON)[:1]
            body = {
                "prompt": [token],
                "n_predict": _TRIED_TOKENS,
                "samplers": ["temperature"],
                "temperature": 0,
                "logit_bias": [[token, _CERTAIN]],
                "json_schema": schema,
            }
            outside = self._post("/completion", body)["content"].partition('"')[0]
            self._held[key] = self.text_of([token]) not in outside
            while len(self._held) > _SCHEMAS:
                self._held.pop(next(iter(self._held)))
        if not self._held[key]:
            raise BadRequest(
                "Answers cannot be held to this JSON schema: no grammar can be made of it. Leave "
                "out what is rare in it, such as lookaheads in patterns, “not”, or parts that "
                "contradict one another."
            ).at("json_schema")

    def prompt_odds(
        self, prompt: Sequence[int], count: int, stop: threading.Event
    ) -> Iterator[Reading | TokenOdds]:
        """The odds of each token of a prompt after those before it; of the first none are known.

        llama.cpp tells the odds of what it says, not of what it reads. So it is made to say the
        prompt, token by token, by a bias; the odds that it tells are those without. It takes about
        as long as an answer of that length.

        Args:
            count: how many of the likeliest tokens are told beside each.
        """
        ids = list(prompt)
        first = self.text_of(ids[:1])
        yield TokenOdds(first, None, first.encode())
        for done in range(1, len(ids)):
            if stop.is_set():
                raise Stopped
            yield Reading(done, len(ids))
            odds = self._odds_after(ids[:done], ids[done], count)
            yield replace(odds, top=odds.top[:count])
        yield Reading(len(ids), len(ids))

    def _odds_after(self, before: list[int], token: int, count: int) -> TokenOdds:
        """The odds of ``token`` behind others, with at least ``count`` of the likeliest."""
        if found := self._odds_said(before, token, count):
            odds = _odds(found)
            if odds.bytes:
                return odds
            text = self.text_of([token])  # a special one
            return replace(odds, text=text, bytes=text.encode())
        # Of a token that is half a character nothing is told as long as it is the last one. So it
        # is looked for among the likeliest beside a whole one, and at last among all.
        (whole,) = self.tokenize("a")[:1]
        for width in (max(count, _LIKELIEST), self.vocabulary_size):
            beside = self._odds_said(before, whole, width) or {}
            top = beside.get("top_logprobs", ())
            odds = next((_odds(each) for each in top if each["id"] == token), None)
            if odds is not None:
                return replace(odds, top=tuple(map(_odds, top[:count])))
        text = self.text_of([token])
        return TokenOdds(text, None, text.encode())

    def _odds_said(self, before: list[int], token: int, width: int) -> dict[str, Any] | None:
        """What llama.cpp tells of the odds where it is made to say ``token``."""
        body = {
            "prompt": before,
            "n_predict": 1,
            "samplers": ["temperature"],
            "temperature": 0,
            "logit_bias": [[token, _CERTAIN]],
            "n_probs": max(width, 1),
            "cache_prompt": True,
        }
        said = self._post("/completion", body)
        return next(iter(said.get("completion_probabilities") or ()), None)

    def _stream(self, body: dict[str, Any], stop: threading.Event) -> Iterator[dict[str, Any]]:
        """What the worker says to a completion, object by object, the last one included."""
        with (
            self._explain_failures(stop),
            self._new_client() as client,  # one each: ending the connection ends the computing
            open_stream(client, stop, "/completion", body) as (response, _),
        ):
            if response.status_code != httpx.codes.OK:
                raise self._error_of(json.loads(response.read()))
            for event in read_events(response.iter_bytes()):
                if stop.is_set():
                    raise Stopped
                if not event.whole:
                    break  # the worker has died within it
                data = json.loads(event.data)
                if event.kind == "error" or "error" in data:
                    raise self._error_of(data)
                yield data
                if data.get("stop"):
                    return
            if stop.is_set():
                raise Stopped
            raise httpx.StreamError("the answer has no end")

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for, special ones included."""
        return self._post("/detokenize", {"tokens": list(tokens)})["content"]

    # --- as the model cache asks ------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """What the worker takes in RAM now; mapped parts of its file are counted once read."""
        return self._process.bytes_held

    def to(self, device: str) -> None:
        raise NotImplementedError("a worker of llama.cpp cannot be moved")

    def close(self) -> None:
        """Ends the worker."""
        self._closed.set()
        self._process.end()
        self._log.close()
        if hasattr(self, "_client"):
            self._client.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def alive(self) -> bool:
        """Whether it can be asked: its folder may have been cleaned away, with its socket."""
        return self._process.alive and (
            not self._address.startswith("unix://") or self._socket_path.exists()
        )

    @property
    def _socket_path(self) -> Path:
        return Path(self._address.removeprefix("unix://"))

    # --- the worker -------------------------------------------------------------------------

    def _start(self, path: Path) -> LineProcess:
        process = LineProcess(
            "pipelines.chat.backends.llama_worker",
            log=self._log,
            environment={"GOMP_SPINCOUNT": SPINS, **_NO_DEBUGGER} | clean_environment(),
        )
        process.write(json.dumps(self._settings(path)).encode() + b"\n")
        return process

    def _settings(self, path: Path) -> dict[str, Any]:
        # A socket in a folder that only we may enter, where the system has such sockets and can
        # hold its address. Elsewhere a port of this machine: the key keeps others out.
        host = str(self._folder / "llama.sock")
        if not hasattr(socket, "AF_UNIX") or len(os.fsencode(host)) > MAX_SOCKET_BYTES:
            host = "127.0.0.1"
        return {
            "path": str(path),
            "context": self.entry.context_length,
            "parallel": self.entry.parallel,
            "threads": self.entry.threads or threads(path.stat().st_size),
            "batch_threads": self.entry.threads or cores(),
            "batch": BATCH,
            "gpu_layers": 0 if self.device == "cpu" else 999,
            "prompt_cache_mib": PROMPT_CACHE_MIB,
            "chat_template": "chatml" if self._own_template else "",
            "host": host,
            "key": self._key,
        }

    def _connect(self, notes: Notes) -> httpx.Client:
        """A client, once the worker has loaded the model."""
        answer, until = None, time.monotonic() + START_SECONDS
        while answer is None and time.monotonic() < until:
            answer = self._process.line(0.2)
            notes(Message("Loading {model}", model=self.entry.title), None)
        reply = json.loads(answer) if answer and answer.strip() else {}
        address = str(reply.get("address"))
        # Whatever a model's file makes of the worker, our key goes to nobody else.
        if address != f"unix://{self._folder / 'llama.sock'}" and not _LOCAL.fullmatch(address):
            raise self._could_not_load(str(reply.get("error", "")))
        self._address = address
        return self._new_client()

    def _new_client(self) -> httpx.Client:
        socket_path = self._address.removeprefix("unix://")
        by_socket = socket_path != self._address
        return httpx.Client(
            base_url="http://llama" if by_socket else self._address,
            # No TLS here: its context alone would take 30 ms of each answer.
            transport=httpx.HTTPTransport(verify=False, uds=socket_path if by_socket else None),
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=None,  # it may have to wait for its turn behind others
        )

    def _get(self, path: str) -> Any:
        with self._explain_failures():
            return self._client.get(path).json()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        with self._explain_failures():
            reply = self._client.post(path, json=body).json()
        if isinstance(reply, dict) and "error" in reply:
            raise self._error_of(reply)
        return reply

    @contextlib.contextmanager
    def _explain_failures(self, stop: threading.Event | None = None) -> Iterator[None]:
        """Says why when the worker cannot be reached."""
        try:
            yield
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            if self._closed.is_set() or (stop is not None and stop.is_set()):
                raise Stopped from error
            self._process.wait(0.5)
            raise Unavailable(
                "llama.cpp broke off while it ran {model}: {reason}. Send the message again.",
                model=self.entry.title,
                reason="; ".join(self._words()[-_CAUSES:])[:500] or str(error) or "no reason given",
            ) from error

    def _could_not_load(self, reason: str) -> Unavailable:
        self._process.wait(1)
        words = "; ".join(self._words()[:_CAUSES])[:500] or reason  # the first is the cause
        lowered = words.lower()
        if "failed to allocate" in lowered or "out of memory" in lowered:
            return OutOfMemory(
                "{model} did not fit into memory: {reason}. Lower context_length or parallel in "
                "its file, or choose a smaller model.",
                model=self.entry.title,
                reason=words,
            )
        return Unavailable(
            "llama.cpp cannot load {model}: {reason}.",
            model=self.entry.title,
            reason=words.rstrip(".") or "it gave no reason",
        )

    def _words(self) -> list[str]:
        """What the worker has printed, each line once, without times and this machine's paths."""
        # By its handle: the file's name may have been cleaned away.
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")
        lines = (_PREFIX.sub("", line.strip()) for line in text.splitlines())
        return list(dict.fromkeys(_PATH.sub(r"\1", line) for line in lines if line))

    def _error_of(self, reply: Any) -> Exception:
        error = reply.get("error", reply) if isinstance(reply, dict) else {}
        if error.get("type") == "exceed_context_size_error":
            return context_exceeded(int(error.get("n_prompt_tokens", 0)), self.context_length)
        reason = str(error.get("message", reply)).rstrip(".")
        return Unavailable(
            "llama.cpp could not go on with {model}: {reason}.",
            model=self.entry.title,
            reason="no reason given" if _INNER_NAME.fullmatch(reason) else reason,
        )

    # --- what kind of model it is -----------------------------------------------------------

    def _find_specials(self) -> dict[str, int]:
        """The special tokens that the chat template writes, with their ids."""
        found = {}
        written = rendering.special_tokens_in(self.template, self._tokens)
        for text in written | {*self._tokens.values()} - {""}:
            as_special = self.tokenize(text, special=True)
            if len(as_special) == 1 and as_special != self.tokenize(text):
                found[text] = as_special[0]
        return found

    def _begins_with_bos(self) -> bool:
        bos = self._specials.get(self._tokens["bos_token"])
        return bos is not None and self.complete_prompt("a")[:1] == [bos]

    @staticmethod
    def _event(data: dict[str, Any]) -> Reading | Words | Finished:
        if data.get("stop"):
            timings = data["timings"]
            return Finished(
                "stop" if data["stop_type"] in ("eos", "word") else "length",
                prompt_tokens=data["tokens_evaluated"],
                cached_tokens=timings["cache_n"],
                tokens=data["tokens_predicted"],
                prompt_seconds=timings["prompt_ms"] / 1000,
                seconds=timings["predicted_ms"] / 1000,
            )
        if (progress := data.get("prompt_progress")) is not None:
            return Reading(progress["processed"], progress["total"])
        odds = tuple(map(_odds, data.get("completion_probabilities", ())))
        return Words(data["content"], len(data.get("tokens", ())) or 1, odds)


def sampling_options(request: Generation, context_length: int) -> dict[str, Any]:
    """llama.cpp's names for a request's sampling, in the order that all backends share."""
    return {
        "samplers": ["penalties", "top_k", "top_p", "min_p", "temperature"],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "repeat_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "repeat_last_n": request.penalty_window or context_length,
        "logit_bias": [[token, bias] for token, bias in request.logit_bias.items()],
        "seed": request.seed,
        "stop": list(request.stop),
        "n_probs": 0 if request.logprobs is None else max(request.logprobs, 1),
    }


def _template_of(path: Path, entry: ChatEntry) -> str:
    try:
        return read_template(path)
    except TemplateTooLong as error:
        raise Unavailable(
            "The chat template in the file of {model} has {count} characters; at most {limit} are "
            "read. Give another as chat_template in the model's file.",
            model=entry.title,
            count=error.args[0],
            limit=MAX_TEMPLATE,
        ) from None


def threads(file_bytes: int) -> int:
    """For one answer at a time: one thread for each core, with a small model for each but one.

    llama.cpp's threads wait for one another after every matrix. Where something else runs as well
    (a picture is painted, the page is served) they wait for whoever has lost its core, and a small
    model's waits are most of its time: SmolLM2 with one thread on two cores was seen to make 63
    tokens a second beside a picture, with two 40 (alone 80 and 115). What is read or answered many
    tokens at a time has more to do between two waits, and takes :func:`cores` threads.
    """
    return max(1, cores() - 1) if file_bytes < SMALL_BYTES else cores()


def cores() -> int:
    """The physical cores that this process may use."""
    allowed = available_cores()
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def _odds(data: dict[str, Any]) -> TokenOdds:
    return TokenOdds(
        data["token"],
        data["logprob"],
        bytes(data["bytes"]),
        tuple(map(_odds, data.get("top_logprobs", ()))),
    )
