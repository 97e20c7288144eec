"""Settings inside picture files, in the format that A1111, Forge, SD.Next and Civitai share.

The text is ``<prompt>``, a line ``Negative prompt: <negative>`` and one last line
``Steps: 20, Sampler: …``. It lies in a PNG's ``parameters`` chunk, or in the EXIF UserComment of a
JPEG or WEBP. Source: ``create_infotext`` in AUTOMATIC1111's ``modules/processing.py`` and
``parse_generation_parameters`` in its ``modules/infotext_utils.py``.

The format cannot hold everything: a prompt that has a line starting with ``Negative prompt:`` is
split there by every reader, and blanks around the whole text are lost.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.picture_files import XMP_TEXT
from pipelines.core.pictures.uploads import exif_value, open_upload, parts_of
from pipelines.diffusion.lora.tags import with_tags
from pipelines.grids.cells import NAMES, label_of
from studio.core.gallery.foreign_settings import check_length, is_json, read_texts, read_words
from studio.core.gallery.hidden_settings import hidden_texts
from studio.core.gallery.infotext_change import change_lines, paints_a_part
from studio.core.gallery.infotext_details import detail_lines
from studio.core.gallery.infotext_parts import DENOISING, part_lines
from studio.core.gallery.infotext_units import unit_lines
from studio.core.home import write_file

VERSION = "Atelier 0.1.0"
CHUNK = "parameters"
NEGATIVE = "Negative prompt:"

# Finds what A1111's \s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$) finds, but in linear time,
# since strangers send the text: the last alternative swallows what turned out to be no name,
# possessive quantifiers never go back.
_PARAMETER = re.compile(r'(\w[\w \-/]++):\s*+("(?:\\.|[^\\"]++)++"|[^,]*+)(?:,|$)|\w[\w \-/]*+')
_ENOUGH = 3  # matches that make a line one of parameters
_FIRST = "Steps: "  # what that line begins with in most files
_MAX_INFOTEXT = 200_000  # characters; regional prompts of many parts have some 20,000
_MAX_FACTS = 500
_MAX_JSON_VALUES = 8  # in the line of parameters
_LIST = re.compile(r"\[(?:'[^'\[\]]*+'(?:, )?+)++\]")  # of texts, as Python writes it
# A line behind the parameters that an extension has added: "Negative Template: …".
_LATER = re.compile(r"([A-Z][\w \-/]{0,60}+):\s?+(.*)")

# Request fields under the names of others, in A1111's order. "CFG rescale" and "CFG end" are
# SD.Next's names, "Eta DDIM" is A1111's; "CFG start" and "Style" are ours: A1111 writes a style's
# words into the prompt.
_NAMES = {
    "steps": "Steps",
    "sampler": "Sampler",
    "schedule": "Schedule type",
    "guidance": "CFG scale",
    "guidance_rescale": "CFG rescale",
    "guidance_start": "CFG start",
    "guidance_end": "CFG end",
    "seed": "Seed",
    "size": "Size",
    "model_hash": "Model hash",
    "model": "Model",
    "clip_skip": "Clip skip",
    "eta": "Eta DDIM",
    "style": "Style",
}
# Not worth a word where they have no effect.
_NO_EFFECT = {"guidance_rescale": 0, "guidance_start": 0, "guidance_end": 1, "clip_skip": 1}


def parameters_of(
    request: dict[str, Any], size: tuple[int, int], extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the metadata of a picture says.

    Args:
        request: the fields of a request for one picture, or one with such a request as ``base``
            and axes ``x``, ``y``, ``z`` (a grid) or lists of ``samplers`` and ``steps`` (a
            comparison).
        size: width and height of the picture in pixels.
        extra: further facts, e.g. ``{"Model hash": "…"}``; they replace the request's where both
            have one, and keep A1111's order.

    Returns:
        ``prompt``, ``negative_prompt`` and A1111's names in A1111's order. The prompt
        names all LoRAs.
    """
    if "about" in request:
        return _upscale_facts(request)
    fields = {**request, **request.get("base", {})}
    # As in A1111 it is the size at which was painted: of a hires pass the first one's.
    if "base" in request or fields.get("hires") is not None or paints_a_part(fields):
        fields["size"] = _size(fields.get("width"), fields.get("height"))
    else:
        fields["size"] = _size(*size)
    if "base" in request:
        varied = {axis["field"] for name in "xyz" if (axis := request.get(name))}
        varied |= {"steps", "sampler"} if "samplers" in request else set()
        fields |= dict.fromkeys(varied & fields.keys() - {"prompt"})
    facts: dict[str, Any] = {}
    for field, name in _NAMES.items():
        value = fields.get(field)
        if value is not None and _NO_EFFECT.get(field) != value:
            facts[name] = value
    facts |= change_lines(fields.get("from_picture")) | part_lines(fields)
    facts |= detail_lines(fields.get("detail_fix"))
    painted = (fields.get("from_picture") or {}).get("picture")
    facts |= _axes(request) | unit_lines(fields.get("units") or (), size, painted)
    facts |= {name: value for name, value in (extra or {}).items() if value is not None}
    facts["Version"] = VERSION
    order = list(_NAMES.values())
    ordered = sorted(facts, key=lambda name: order.index(name) if name in order else len(order))
    return {
        "prompt": with_tags(fields.get("prompt", ""), fields.get("loras") or ()),
        "negative_prompt": fields.get("negative_prompt", ""),
        **{name: facts[name] for name in ordered},
    }


def _upscale_facts(request: dict[str, Any]) -> dict[str, Any]:
    """What the picture's own file said, and how it was made larger."""
    known = parse_parameters(request["about"])
    known.pop("Version", None)
    return {
        **known,
        "Postprocess upscale by": request["scale"],
        "Postprocess upscaler": request["upscaler"],
        "Version": VERSION,
    }


def format_parameters(parameters: dict[str, Any]) -> str:
    """The text for a picture file; the inverse of :func:`parse_parameters`."""
    facts = {k: v for k, v in parameters.items() if k not in ("prompt", "negative_prompt")}
    lines = [_unix(parameters.get("prompt", ""))]
    if negative := _unix(parameters.get("negative_prompt", "")):
        lines.append(f"{NEGATIVE} {negative}")
    lines.append(", ".join(f"{name}: {_quote(value)}" for name, value in facts.items()))
    return "\n".join(lines).strip()


def parse_parameters(text: str) -> dict[str, str]:
    """``prompt``, ``negative_prompt`` and all named values, as text, of a file's parameters.

    Text that was not written by any studio comes back as the prompt. Lines that extensions have
    added behind the parameters count as values of their own.
    """
    lines = _unix(text).strip("\0 \t\r\n\ufeff").split("\n")
    at, facts = _line_of_facts(lines)
    prompt: list[str] = []
    negative: list[str] = []
    part = prompt
    for line in lines[:at]:
        if line.lstrip().startswith(NEGATIVE):
            part = negative
            line = line.lstrip()[len(NEGATIVE) :].removeprefix(" ")
        part.append(line)
    parameters = {"prompt": "\n".join(prompt), "negative_prompt": "\n".join(negative)}
    for name, value in facts[:_MAX_FACTS]:
        # A fact may not pass for a prompt: names are kept apart by their capital letter.
        if name not in ("prompt", "negative_prompt"):
            parameters[_CASES.get(name.lower(), name)] = _unquote(value.strip())
    if (more := len(facts) - _MAX_FACTS) > 0:
        parameters["Further settings"] = str(more)
    return parameters | _later_facts(lines[at + 1 :])


# One of these at least is among parameters: "light: soft, mood: calm, hue: red" is a prompt.
_SURE = {*_NAMES.values(), "Version", DENOISING, "Script"} - {"Style", "Model"}
# Names that somebody has written in small or capital letters → A1111's.
_CASES = {name.lower(): name for name in _SURE | {"Model"}}


def _line_of_facts(lines: list[str]) -> tuple[int, list[tuple[str, str]]]:
    """Which line holds the parameters, and the parameters; the number of lines where none does."""
    last = len(lines) - 1
    facts = _facts_in(lines[last])
    if len(facts) >= _ENOUGH and (
        lines[last].startswith(_FIRST) or any(name == "Version" for name, _ in facts)
    ):
        return last, facts
    for number in range(last - 1, -1, -1):
        if lines[number].startswith(_FIRST):
            earlier = _facts_in(lines[number])
            if len(earlier) >= _ENOUGH:
                return number, earlier
    is_enough = len(facts) >= _ENOUGH and any(
        _CASES.get(name.lower()) in _SURE for name, _ in facts
    )
    return (last, facts) if is_enough else (len(lines), [])


def _facts_in(line: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in _PARAMETER.findall(_json_quoted(line)) if name]


def _json_quoted(line: str) -> str:
    """The line with values that are bare JSON in quotes, so that their commas are no ends.

    Civitai writes ``Civitai resources: [{"type": …}]``, Fooocus ``Styles: ['A', 'B']``.
    """
    decode, kept, done = json.JSONDecoder().raw_decode, [], 0
    at = -2
    for _ in range(_MAX_JSON_VALUES):
        found = [place for start in (": [", ": {") if (place := line.find(start, at + 2)) >= 0]
        if not found:
            break
        at = min(found)
        try:
            _, end = decode(line, at + 2)
        except (ValueError, RecursionError):
            if not (names := _LIST.match(line, at + 2)):
                continue
            end = names.end()
        if line[end : end + 1] in (",", ""):
            kept += [line[done : at + 2], json.dumps(line[at + 2 : end], ensure_ascii=False)]
            done, at = end, end - 2
    return "".join([*kept, line[done:]])


def _later_facts(lines: list[str]) -> dict[str, str]:
    """What extensions say behind the parameters; lines without a name go on with the one before."""
    facts: dict[str, list[str]] = {}
    name = "Text behind the settings"
    for line in lines:
        if match := _LATER.fullmatch(line):
            name, line = match[1], match[2]
        if name in facts or len(facts) < _MAX_FACTS:
            facts.setdefault(name, []).append(line)
    return {name: _unquote("\n".join(part).strip()) for name, part in facts.items()}


def read_settings(data: bytes) -> dict[str, str]:
    """The parameters inside an uploaded PNG, JPEG or WEBP; empty when it has none.

    Those of other programs come under A1111's names, with ``Software`` for whose they are.

    Raises:
        BadRequest: the file is not such a picture, too large or damaged, or its settings cannot be
            read.
    """
    picture, left_out = open_upload(data), parts_of(data).left_out
    if left_out & _KEYWORDS:
        raise BadRequest(
            "The settings inside this picture are too long to be read, or damaged: {names}.",
            names=", ".join(sorted(left_out & _KEYWORDS)),
        )
    texts = {name: text for name, text in picture.info.items() if isinstance(text, str)}
    texts |= _exif_texts(picture)
    if not texts.keys() & _KEYWORDS:
        texts |= hidden_texts(picture)
    if (settings := read_texts(texts)) is not None:
        return settings
    for keyword in (CHUNK, _COMMENT):
        text = texts.get(keyword, "")
        if not text.strip():
            continue
        if is_json(text):
            raise BadRequest(
                "The settings inside this picture are those of a program that is not known here; "
                "nothing of them can be read."
            )
        check_length(text, _MAX_INFOTEXT)
        settings = parse_parameters(text)
        if keyword == CHUNK or len(settings) > 2:  # a comment in EXIF can be about anything
            return settings
    # Programs that convert pictures keep the text under names of their own.
    for keyword, text in texts.items():
        if keyword == XMP_TEXT:
            text = _describe(text)
        if len(text) <= _MAX_INFOTEXT and not is_json(text) and "Steps: " in text:
            settings = parse_parameters(text)
            if settings.keys() >= {"Steps", "Seed"}:
                return settings
    return read_words(texts)


def _describe(xmp: str) -> str:
    """The first of XMP's texts that speaks of steps, without the markup around it."""
    for match in _XMP_WORDS.finditer(xmp[: 2 * _MAX_INFOTEXT]):
        if "Steps: " in match[1]:
            return html.unescape(match[1])
    return ""


_XMP_WORDS = re.compile(r"<(?:rdf:li|exif:UserComment|dc:description)\b[^<>]*+>([^<]++)<")
_COMMENT = "UserComment"
_WINDOWS = (0x9C9B, 0x9C9C)  # XPTitle and XPComment, in UTF-16
_KEYWORDS = {CHUNK, "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Dream", "Comment"}
_COMFYUI = {"prompt", "workflow"}


def _exif_texts(picture: Image.Image) -> dict[str, str]:
    """Texts in the EXIF block, by their names there; ComfyUI's by its own.

    The user's comment belongs into the directory of the camera's values; some programs write it
    into the first one. In a WEBP, ComfyUI writes ``prompt:{…}`` into the fields that come first.
    """
    texts: dict[str, str] = {}
    comments = [
        exif_value(picture, Base.UserComment, IFD.Exif),
        exif_value(picture, Base.UserComment),
    ]
    for comment in comments:
        if isinstance(comment, bytes):
            comment = decode_user_comment(comment)
        if isinstance(comment, str) and comment.strip():
            texts.setdefault(_COMMENT, comment)
    for tag in _WINDOWS:
        text = exif_value(picture, tag)
        if isinstance(text, bytes):
            texts[f"EXIF {tag:04X}"] = text.decode("utf-16-le", errors="replace").strip("\0")
    for tag in (Base.Model, Base.Make, Base.ImageDescription, Base.Software, Base.DocumentName):
        text = exif_value(picture, tag)
        if not isinstance(text, str):
            continue
        keyword, _, rest = text.strip("\0").partition(":")
        if keyword.lower() in _COMFYUI and rest.lstrip()[:1] == "{":
            texts[keyword.lower()] = rest.strip()
        else:
            texts.setdefault(tag.name, text.strip("\0"))
    return texts


def decode_user_comment(comment: bytes) -> str:
    """EXIF UserComment as text: eight bytes name the encoding, and not all writers keep to them.

    ``UNICODE`` is UTF-16; the standard leaves its byte order open, A1111 writes big-endian, others
    little-endian or even UTF-8. Every text of parameters holds plain Latin words such as "Steps":
    in UTF-16 they bring zero bytes, and read in the wrong byte order they are none.
    """
    prefix, body = comment[:8], comment[8:]
    if prefix == b"UNICODE\0" and body[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return body.decode("utf-16", errors="replace").strip("\0")
    if prefix == b"UNICODE\0" and b"\0" in body.strip(b"\0"):
        readings = [body.decode(name, errors="replace") for name in ("utf-16-be", "utf-16-le")]
        return max(readings, key=_latin).strip("\0")
    if prefix not in (b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8):
        body = comment  # written without any prefix
    return body.decode("utf-8", errors="replace").strip("\0")


def png_bytes(image: Image.Image, parameters: str | None) -> bytes:
    """``image`` as a PNG file, with ``parameters`` as its text chunk (iTXt beyond Latin-1)."""
    info = PngInfo()
    if parameters:
        info.add_text(CHUNK, parameters)
    buffer = io.BytesIO()
    # Half the time of Pillow's level 6, and files that are 3 % larger.
    image.save(buffer, format="PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


def save_png(image: Image.Image, path: Path, parameters: str | None) -> int:
    """Writes a PNG that is either whole or not there; returns its size in bytes.

    Raises:
        DiskFull: the sentence names the bytes needed, the bytes free and the folder.
    """
    data = png_bytes(image, parameters)
    write_file(path, data)
    return len(data)


def _axes(request: dict[str, Any]) -> dict[str, str]:
    """The axes of a grid as A1111's X/Y/Z plot script writes them."""
    axes = {name: request[name.lower()] for name in "XYZ" if request.get(name.lower())}
    if "samplers" in request:
        steps = ", ".join(str(steps) for steps in request.get("steps", ()))
        axes = {
            "X": {"field": "steps", "values": steps},
            "Y": {"field": "sampler", "values": ", ".join(request["samplers"])},
        }
    facts = {"Script": "X/Y/Z plot"} if axes else {}
    for name, axis in axes.items():
        facts |= {f"{name} Type": label_of(axis["field"]), f"{name} Values": axis["values"]}
    return facts


def axes_of(parameters: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Axis → setting and values, of a grid's sheet; A1111's too, as far as they are known here."""
    fields = {name.lower(): field for field, name in NAMES.items()}
    axes = {}
    for axis in "XYZ":
        name, values = (str(parameters.get(f"{axis} {part}", "")) for part in ("Type", "Values"))
        field = fields.get(name.lower(), name if name in _own_names(parameters) else "")
        if field and values:
            axes[axis] = (field, values)
    return axes


def _own_names(parameters: Mapping[str, Any]) -> set[str]:
    """Settings that our own files call as a request does."""
    ours = str(parameters.get("Version", "")).startswith("Atelier")
    return {str(parameters.get(f"{axis} Type")) for axis in "XYZ"} if ours else set()


def _size(width: int | None, height: int | None) -> str | None:
    return f"{width}x{height}" if width and height else None


def _quote(value: Any) -> str:
    text = _number(value) if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        text = json.loads(value)
    except json.JSONDecodeError:
        return value  # written by hand; better shown as it stands than refused
    return text if isinstance(text, str) else value


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _latin(text: str) -> int:
    return sum(" " <= character <= "~" for character in text)
