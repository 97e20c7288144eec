"""Embeddings of GGUF models by llama.cpp: a worker of its own, which gives nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.chat.backends.gguf_template import names_pooling
from pipelines.chat.backends.llama_cpp import LlamaCpp
from pipelines.chat.context import context_exceeded
from pipelines.core.errors import Stopped

LONGEST = 2048  # tokens of a text: it is read at once
TOGETHER = 4  # texts that are read beside one another
_TOO_LONG = re.compile(r"input \((\d{1,12}) tokens\) is too large")


class LlamaEmbedder(LlamaCpp):
    """Vectors of texts; models that are not made for them give the mean of their states."""

    def embed(
        self, texts: Sequence[str | Sequence[int]], stop: threading.Event
    ) -> tuple[list[list[float]], int]:
        """The vectors of texts, each of length 1; and how many tokens were read.

        Args:
            texts: as texts or as tokens.

        Raises:
            Stopped: ``stop`` was set.
            ContextExceeded: a text does not fit.
            Unavailable: the worker has died.
        """
        if stop.is_set():
            raise Stopped
        given = [text if isinstance(text, str) else [*text] for text in texts]
        reply = self._post("/v1/embeddings", {"input": given})
        vectors = [each["embedding"] for each in sorted(reply["data"], key=lambda x: x["index"])]
        return vectors, int(reply["usage"]["prompt_tokens"])

    def _settings(self, path: Path) -> dict[str, Any]:
        context = min(self.entry.context_length, LONGEST)
        usual = super()._settings(path)
        return usual | {
            "context": context,
            "parallel": TOGETHER,
            "batch": context,
            "threads": usual["batch_threads"],  # a text is read as a prompt is
            "embedding": True,
            "pools_by_mean": not names_pooling(path),
            "prompt_cache_mib": 0,
        }

    def _error_of(self, reply: Any) -> Exception:
        error = reply.get("error", reply) if isinstance(reply, dict) else {}
        if found := _TOO_LONG.search(str(error.get("message", ""))):
            return context_exceeded(int(found[1]), min(self.entry.context_length, LONGEST))
        return super()._error_of(reply)
