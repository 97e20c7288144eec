"""The page's scripts call no function that there is not: a rename that forgets one is seen."""

from __future__ import annotations

import re

import pytest

from tests.structure.sources import ROOT, tracked_files

COMMENT = re.compile(r"/\*.*?\*/|(?:^|\s)//[^\n]*", re.DOTALL)
STRING = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'")
CALL = re.compile(r"(?<![\w$#])(?<!(?<!\.\.)\.)(\w+)\(")  # no method; spread with ... it may be
# What gives a name: a function, a variable, a method; parameters and what is taken apart.
NAMED = re.compile(
    r"\bfunction\*?\s+(\w+)|\b(?:const|let|class)\s+(\w+)|(\w+)\s*=>"
    r"|(?:^|\{)\s*(?:static |async |get |set )*[*#]*(\w+)\([^\n]*\)\s*\{",
    re.MULTILINE,
)
SEVERAL = re.compile(
    r"\b(?:const|let|import)\s*[\[{]([^=]*?)[\]}]|\(((?:[^()]|\([^()]*\))*)\)\s*(?:=>|\{)"
)
WORD = re.compile(r"\w+")
LANGUAGE = {"if", "for", "while", "switch", "catch", "return", "typeof", "await", "function",
            "super", "of", "in", "case", "async", "constructor", "import"}  # fmt: skip
BROWSER = {"AbortController", "Array", "Blob", "Boolean", "CustomEvent", "DOMParser",
           "DataTransfer", "DataView", "Date", "Error", "Event", "EventSource", "File",
           "Float32Array", "Float64Array", "FormData", "Image", "ImageData", "Int16Array",
           "Int32Array", "Int8Array", "IntersectionObserver", "Map", "MutationObserver", "Number",
           "OffscreenCanvas", "Promise", "ResizeObserver", "Response", "Set", "String",
           "TextDecoder", "TextEncoder", "URL", "URLSearchParams", "Uint16Array", "Uint32Array",
           "Uint8Array", "Uint8ClampedArray", "WeakMap", "WeakSet", "XMLSerializer",
           "addEventListener", "atob", "cancelAnimationFrame", "clearInterval", "clearTimeout",
           "confirm", "createImageBitmap", "decodeURIComponent", "encodeURIComponent", "fetch",
           "getComputedStyle", "matchMedia", "parseFloat", "parseInt", "queueMicrotask",
           "removeEventListener", "requestAnimationFrame", "setInterval", "setTimeout",
           "structuredClone", "trigger", "watch"}  # fmt: skip
PAINTED = {
    "blur",
    "translate",
    "rotate",
    "scale",
    "rgb",
    "var",
    "url",
    "calc",
}  # of styles, in templates


def code_of(text: str) -> str:
    return STRING.sub('""', COMMENT.sub(" ", text))


def names_in(code: str) -> set[str]:
    """All that a script gives a name, imports and parameters among it."""
    names = {name for groups in NAMED.findall(code) for name in groups if name}
    return names | {
        word for groups in SEVERAL.findall(code) for each in groups for word in WORD.findall(each)
    }


def calls_in(code: str) -> set[str]:
    return set(CALL.findall(code)) - LANGUAGE - BROWSER - PAINTED


def missing_functions(texts: list[str]) -> set[str]:
    """What scripts that are one program call and none of them names."""
    codes = [code_of(text) for text in texts]
    named = set().union(*map(names_in, codes))
    return set().union(*map(calls_in, codes)) - named


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        ('import { say } from "./words.js";\nexport function end(a) { return say(a); }', set()),
        ("function endOf({ state }) { return state; }\nfoot(...ending(x));", {"ending", "foot"}),
        (
            "const draw = (ctx, { fill }) => fill(ctx);\nclass A { go() {\n } }\nnew A().go();",
            set(),
        ),
        ("// gone(1)\nfetch(`/a?${name(1)}`).then((r) => r.json());", {"name"}),
    ],
)
def test_calls_of_nothing_are_found(script, missing):
    assert missing_functions([script]) == missing


def test_scripts_call_only_what_there_is():
    """Scripts of one folder may be sent together, so that they share their functions."""
    folders: dict[str, list[str]] = {}
    for file in tracked_files():
        if file.startswith("assets/") and file.endswith(".js"):
            text = (ROOT / file).read_text("utf-8")
            folders.setdefault(file.rpartition("/")[0], []).append(text)
    assert len(folders) > 5
    assert {folder: found for folder, texts in folders.items()
            if (found := missing_functions(texts))} == {}  # fmt: skip
