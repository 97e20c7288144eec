"""Pictures from outside: looked at before they are decoded, then re-encoded.

The type is read from the bytes, never from a file name, and only these decoders are ever asked.
What comes out is plain RGB in sRGB with the orientation applied and nothing else of the file: no
EXIF (photos carry the place where they were taken), no colour profile, no text.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import (
    GifImagePlugin,
    Image,
    ImageChops,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)
from PIL.ExifTags import IFD, Base, Interop

from pipelines.core.errors import BadRequest
from pipelines.core.file_kinds import archive_kind
from pipelines.core.pictures.colour_profiles import adobe_rgb_profile, linear_to_srgb, to_srgb
from pipelines.core.pictures.hdr import coding_of_profile, stretch, to_sdr
from pipelines.core.pictures.picture_files import (
    PNG_SIGNATURE,
    XMP_TEXT,
    Parts,
    take_apart_jpeg,
    take_apart_png,
)
from pipelines.core.sizes import format_bytes

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of pictures that are accepted.

    Attributes:
        bytes: of a file, at most.
        pixels: of a picture, at most.
        enough: pixels a side that are of use, or None for all. A JPEG is decoded at a half, a
            quarter or an eighth of its size as long as it stays larger than that.
        gif: whether GIF is taken as well; of pictures that move, the first frame is.
    """

    bytes: int = MAX_BYTES
    pixels: int = MAX_PIXELS
    enough: int | None = None
    gif: bool = False


PICTURES = Limits()

# What Pillow's decoders raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)

# Pillow tells of every damaged EXIF block that strangers send; that is no news for the log.
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)

# The brands of HEIF files: their codecs are none that Pillow is asked to open here.
_HEIF = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"heif", b"mif1", b"msf1", b"avif",
         b"avis"}  # fmt: skip
# What else people send, by how it begins.
_OTHERS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF or camera raw",
    b"MM\0*": "TIFF or camera raw",
    b"II+\0": "TIFF",
    b"IIU\0": "camera raw",
    b"FUJIFILMCCD-RAW": "camera raw",
    b"8BPS": "Photoshop",
    b"%PDF-": "PDF",
    b"%!PS": "PostScript",
    b"\0\0\1\0": "ICO",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"gimp xcf": "GIMP",
    b"v/1\1": "OpenEXR",
    b"qoif": "QOI",
    b"\x1aE\xdf\xa3": "video",
}

# EXIF orientation: what sets a picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_hdr(picture: Image.Image) -> bool:
    """Whether a picture of :func:`open_upload` is an HDR picture, which :func:`plain` darkens."""
    coding = picture.info.get("colour_coding")
    return coding is not None and coding.is_hdr


def count_frames(picture: Image.Image) -> int:
    """How many frames the file of :func:`open_upload` has; only the first one is ever taken."""
    return picture.info.get("frames", 1)


def open_picture(data: bytes, limits: Limits = PICTURES) -> Image.Image:
    """The picture in an uploaded file as RGB; transparent parts become white.

    Raises:
        BadRequest: not a PNG, JPEG or WEBP, too large, or damaged; one sentence says which.
    """
    return plain(open_upload(data, limits))


def read_file(path: Path, limits: Limits = PICTURES) -> bytes:
    """The bytes of a file that was uploaded to the disk; one that is too large is not read.

    Raises:
        BadRequest: it is too large.
    """
    _check_bytes(path.stat().st_size, limits)
    return path.read_bytes()


def open_upload(data: bytes, limits: Limits = PICTURES) -> Image.Image:
    """The fully decoded picture with the file's own mode and ``info``, after all checks.

    For reading metadata; use :func:`open_picture` for the pixels. ``info`` has the colour profile
    as ``icc_profile``, the EXIF block as ``exif`` and texts by their keywords, as Pillow has them;
    what is damaged of these, or too long, is not there and costs no pixels.

    Raises:
        BadRequest: as :func:`open_picture`.
    """
    _check_bytes(len(data), limits)
    opener = _opener(data, limits)
    parts = parts_of(data)
    if parts.unusual is not None:
        raise parts.unusual
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF; that is not our loss
            picture = opener(io.BytesIO(parts.pixels))  # reads the header only
            width, height = picture.size
            if width * height > limits.pixels:
                raise BadRequest(
                    "The picture has {width} × {height} pixels; "
                    "at most {limit} million are taken. Make it smaller first.",
                    width=width,
                    height=height,
                    limit=limits.pixels // 1_000_000,
                )
            if limits.enough is not None:
                picture.draft(None, (limits.enough, limits.enough))
            picture.load()
            if picture.mode in ("P", "PA") and picture.palette is None:
                raise ValueError("numbers of colours, and no colours")
    except _DAMAGE as error:
        raise BadRequest(
            "The picture is damaged or cut off: its pixels cannot be read to the end. "
            "Send the whole file."
        ) from error
    picture.info.update(parts.texts)
    if parts.exif:
        picture.info["exif"] = parts.exif
    if parts.profile:
        picture.info["icc_profile"] = parts.profile
    coding = parts.coding or coding_of_profile(picture.info.get("icc_profile") or b"")
    if coding is not None:
        picture.info["colour_coding"] = coding
    frames = max(parts.frames, getattr(picture, "n_frames", 1))
    if frames > 1:
        picture.info["frames"] = frames
    if XMP_TEXT in parts.texts:
        picture.info["xmp"] = parts.texts[XMP_TEXT].encode()
    return picture


def parts_of(data: bytes) -> Parts:
    """The parts of a picture file; of one that Pillow reads safely as a whole, just the file."""
    if data.startswith(PNG_SIGNATURE):
        return take_apart_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return take_apart_jpeg(data)
    return Parts(pixels=data)


def _check_bytes(count: int, limits: Limits) -> None:
    if count > limits.bytes:
        raise BadRequest(
            "The file has {size}; at most {limit} are taken.",
            size=format_bytes(count, above=limits.bytes),
            limit=format_bytes(limits.bytes),
        )


def plain(picture: Image.Image) -> Image.Image:
    """``picture`` as RGB pixels and nothing else: upright, in sRGB, on white, without ``info``."""
    # Not ImageOps.exif_transpose: it also rewrites the EXIF block, which fails on damaged ones.
    turn = _TURNS.get(exif_value(picture, Base.Orientation))
    upright = picture if turn is None else picture.transpose(turn)
    if upright.mode.startswith(("I", "F")):  # 16 bits a pixel; convert() would clip, not scale
        upright = upright.convert("F").point(lambda value: value / 257).convert("L")
    alpha = upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
    coding = picture.info.get("colour_coding")
    if coding is not None and not coding.full_range and upright.mode == "RGB":
        upright = stretch(upright)
    if coding is not None and coding.is_hdr:
        rgb = to_sdr(upright.convert("RGB"), coding, linear_to_srgb(coding.primaries))
    else:
        rgb = to_srgb(upright, _profile_of(picture))
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return Image.frombytes("RGB", rgb.size, rgb.tobytes())


def plain_mask(picture: Image.Image) -> Image.Image:
    """A picture of :func:`open_upload` as a mask: RGB in greys, upright, white where it masks.

    A mask with transparent parts masks where it is opaque, whatever its colours; any other masks
    where it is bright.
    """
    alpha = upright_alpha(picture)
    if alpha is None or alpha.getextrema() == (255, 255):
        return plain(picture).convert("L").convert("RGB")
    return Image.merge("RGB", [alpha] * 3)


def transparent_parts(picture: Image.Image) -> Image.Image | None:
    """A mask of what is transparent in a picture, as :func:`plain_mask` gives it; None: nothing."""
    alpha = upright_alpha(picture)
    if alpha is None or alpha.getextrema()[0] > 127:
        return None
    return Image.merge("RGB", [ImageChops.invert(alpha)] * 3)


def upright_alpha(picture: Image.Image) -> Image.Image | None:
    """How opaque a picture of :func:`open_upload` is, L and upright; None: it cannot be said."""
    if not picture.has_transparency_data:
        return None
    turn = _TURNS.get(exif_value(picture, Base.Orientation))
    upright = picture if turn is None else picture.transpose(turn)
    return upright.convert("RGBA").getchannel("A")


def _profile_of(picture: Image.Image) -> bytes | None:
    """The colour profile in the file, or the one that its EXIF block names."""
    if profile := picture.info.get("icc_profile"):
        return profile
    if picture.mode == "RGB":
        # DCF 2.0: R03 is Adobe RGB; some cameras write a colour space of 2 instead.
        named = exif_value(picture, Interop.InteropIndex, IFD.Interop)
        index = named.encode() if isinstance(named, str) else named
        is_adobe = isinstance(index, bytes) and index[:3] == b"R03"
        if is_adobe or exif_value(picture, Base.ColorSpace, IFD.Exif) == 2:
            return adobe_rgb_profile()
    return None


def exif_value(picture: Image.Image, tag: int, ifd: int | None = None) -> Any:
    """A value of the picture's EXIF block (or of one within it), None where none can be read.

    A damaged block says nothing about the pixels, so the picture is still good.
    """
    try:
        exif = picture.getexif()
        return (exif if ifd is None else exif.get_ifd(ifd)).get(tag)
    except (*_DAMAGE, LookupError, TypeError, AttributeError):
        return None


def _opener(data: bytes, limits: Limits):
    """Pillow's reader for these bytes.

    The readers are named, not looked up by ``Image.open``: that one raises on large pictures
    before it has told their size, and tries every format it knows.
    """
    if data.startswith(PNG_SIGNATURE):
        return PngImagePlugin.PngImageFile
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if limits.gif and data[:6] in (b"GIF87a", b"GIF89a"):
        return GifImagePlugin.GifImageFile
    if not data:
        raise BadRequest("The file is empty. Send a PNG, JPEG or WEBP picture.")
    start = data[:4096].lower()
    if b"<html" in start or start.lstrip().startswith(b"<!doctype html"):
        raise BadRequest(
            "This is a web page, not a picture; the download may have failed. Open its address in "
            "a browser and save the picture itself."
        )
    if b"<svg" in start:
        raise BadRequest("This is an SVG drawing. Send a PNG, JPEG or WEBP picture.")
    if _is_text(data[:4096]):
        raise BadRequest("This is a text file, not a picture. Send a PNG, JPEG or WEBP picture.")
    if (archive := archive_kind(data)) is not None:
        raise BadRequest(
            "This is a {kind} archive, which is not opened here. Unpack it and send the pictures; "
            "where photos are taught, an ordinary ZIP of them is taken too.",
            kind=archive,
        )
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        raise BadRequest(
            "This is a HEIC or AVIF photo, which cannot be read here. Export it as JPEG and send "
            "that. An iPhone takes JPEG photos with Settings, Camera, Formats, Most Compatible."
        )
    if data.startswith((b"\x89PNG\n", b"\x89PNG\r\r\n")):
        raise BadRequest(
            "This PNG was damaged on its way: its line ends were changed, as if it were a text. "
            "Send the file as it was."
        )
    kind = next((kind for start, kind in _OTHERS.items() if data.startswith(start)), None)
    if kind is None and data[4:8] == b"ftyp":
        kind = "video"
    if kind is not None:
        raise BadRequest(
            "This is a {kind} file, which is not read here. Export it as PNG or JPEG and send "
            "that.",
            kind=kind,
        )
    raise BadRequest("This file is of another kind. Send a PNG, JPEG or WEBP picture.")


def _is_text(start: bytes) -> bool:
    if b"\0" in start:
        return False
    # The cut after 4096 bytes may split a character; only the last three bytes can be such a rest.
    text = start.decode("utf-8", errors="replace")
    return "\ufffd" not in text[:-3]
