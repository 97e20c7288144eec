"""Pictures brought in over HTTP, the maps made of them, and jobs that follow them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.preprocessors import registry
from studio.core.gallery.metadata import read_settings
from studio.core.services import Studio
from tests.pipelines.core.test_colour_profiles import chunk, with_chunks
from tests.studio.live import (
    live_studio,
    options_for,
    page_config,
    paint,
    sentence,
    settings,
    wait_for,
)
from tests.studio.people import ACCOUNTS

INPUTS, CONDITION = "/api/v1/inputs", "/api/v1/condition"
CONTROL = "/api/v1/jobs/control"
PAINT = "/api/v1/jobs/text_to_image"
STRANGE_ID = "0" * 32


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home, control_folder) -> Iterator[tuple[Studio, str]]:
    home = tmp_path_factory.mktemp("inputs")
    with live_studio(options_for(home, twin_home, control_folder, accounts=ACCOUNTS)) as running:
        yield running


def house(size=(96, 96)) -> Image.Image:
    """A house in black on white."""
    picture = Image.new("RGB", size, "white")
    width, height = size
    points = [(0.2, 0.9), (0.2, 0.5), (0.5, 0.2), (0.8, 0.5), (0.8, 0.9), (0.2, 0.9)]
    ImageDraw.Draw(picture).line([(x * width, y * height) for x, y in points], "black", 3)
    return picture


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bring(client: httpx.Client, data: bytes | None = None, **params) -> dict:
    answer = client.post(INPUTS, content=data or file_of(house()), params=params)
    assert answer.status_code == 201, answer.text
    return answer.json()


def unit(client: httpx.Client, **changes) -> dict:
    base = {"picture": bring(client)["id"], "preprocessor": "scribble", "model": "tiny-net"}
    return base | changes


def open_answer(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(answer.content))


# --- bringing in ----------------------------------------------------------------------------------


def test_a_picture_comes_back_as_its_pixels_and_nothing_else(ada):
    exif = Image.Exif()
    exif[0x010E] = "at home"
    kept = bring(ada, file_of(house(), exif=exif))
    answer = ada.get(kept["url"])
    assert open_answer(answer).tobytes() == house().tobytes()
    assert b"at home" not in answer.content
    assert answer.headers["cache-control"].startswith("private")


def odd_pictures() -> dict[str, bytes]:
    grey16 = Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16))
    glass = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    glass.putpixel((3, 3), (200, 0, 0, 255))
    return {
        "16 bits": file_of(grey16),
        "palette": file_of(house().convert("P")),
        "grey": file_of(house().convert("L")),
        "one bit": file_of(house().convert("1")),
        "transparent": file_of(glass),
        "one pixel": file_of(Image.new("RGB", (1, 1), "red")),
        "JPEG": file_of(house(), "JPEG"),
        "WEBP": file_of(house(), "WEBP"),
        "portrait": file_of(house((30, 90))),
    }


@pytest.mark.parametrize("kind", odd_pictures())
def test_every_odd_kind_is_brought_in_as_rgb(ada, kind):
    kept = bring(ada, odd_pictures()[kind])
    image = open_answer(ada.get(kept["url"]))
    assert image.mode == "RGB"
    assert image.size == (kept["width"], kept["height"])


def test_an_hdr_picture_is_said_to_have_been_converted(ada):
    white = file_of(Image.new("RGB", (64, 64), (148, 148, 148)))  # 203 cd/m² in PQ
    hdr = with_chunks(white, chunk(b"cICP", bytes([9, 16, 0, 1])))
    kept = bring(ada, hdr)
    assert "HDR picture" in kept["note"]
    shown = Image.open(io.BytesIO(ada.get(f"{INPUTS}/{kept['id']}.png").content))
    assert np.asarray(shown).min() >= 250
    assert bring(ada, white)["note"] is None


def frames_of(kind: str, size=(30, 20), **options) -> bytes:
    first, *others = (Image.new("RGB", size, colour) for colour in ("red", "lime", "blue"))
    return file_of(first, kind, save_all=True, append_images=others, **options)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_of_a_file_that_moves_the_first_frame_is_taken_and_that_is_said(ada, kind, options):
    kept = bring(ada, frames_of(kind, **options))
    assert kept["note"] == "The file moves: the first of its 3 frames was taken."
    assert open_answer(ada.get(kept["url"])).getpixel((3, 3)) == (255, 0, 0)
    mask = bring(ada, frames_of(kind, **options), mask=True)
    assert "the first of its 3 frames" in mask["note"]
    both = bring(ada, frames_of(kind, (2050, 3), **options))["note"]
    assert "3 frames" in both
    assert "from 2050×3 to 2048×3 pixels" in both
    assert bring(ada)["note"] is None


def test_a_large_picture_is_shrunk(ada):
    kept = bring(ada, file_of(Image.new("RGB", (5000, 100), "red")))
    assert (kept["width"], kept["height"]) == (2048, 41)
    assert "from 5000×100 to 2048×41 pixels" in kept["note"]


# --- masks ----------------------------------------------------------------------------------------


def lit(client: httpx.Client, data: bytes, **params) -> np.ndarray:
    """Where a mask that is brought in is white."""
    kept = bring(client, data, mask=True, **params)
    return np.asarray(open_answer(client.get(kept["url"])).convert("L")) > 128


def masks() -> dict[str, bytes]:
    """One mask in many kinds of files: the left third of 60 × 40 pixels."""
    grey = np.zeros((40, 60), np.uint8)
    grey[:, :20] = 255
    luminance = Image.fromarray(grey)
    black, white = (Image.new("L", luminance.size, value) for value in (0, 255))
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned to the right, so what was below is left
    lying = luminance.transpose(Image.Transpose.ROTATE_90)
    others = [Image.new("L", luminance.size, value) for value in (0, 255)]
    return {
        "luminance": file_of(luminance),
        "strokes in black on nothing": file_of(Image.merge("LA", [black, luminance])),
        "strokes in white on nothing": file_of(Image.merge("LA", [white, luminance])),
        "colours, and nothing transparent": file_of(
            Image.merge("RGBA", [luminance, luminance, luminance, white])
        ),
        "one bit": file_of(luminance.convert("1")),
        "16 bits": file_of(Image.fromarray(grey.astype(np.uint16) * 257)),
        "palette": file_of(luminance.convert("P")),
        "turned by EXIF": file_of(lying, exif=turned),
        "turned by EXIF, transparent": file_of(
            Image.merge("LA", [lying.point(lambda v: 0), lying]), exif=turned
        ),
        "the first picture of several": file_of(
            luminance, "WEBP", lossless=True, save_all=True, append_images=others
        ),
    }


@pytest.mark.parametrize("kind", masks())
def test_a_mask_is_read_from_its_opaque_parts_or_from_what_is_bright(ada, kind):
    expected = np.zeros((40, 60), bool)
    expected[:, :20] = True
    assert np.array_equal(lit(ada, masks()[kind]), expected)


def test_what_is_transparent_in_a_picture_is_kept_as_a_mask(ada):
    glass = Image.new("RGBA", (40, 20), (10, 200, 30, 255))
    glass.paste((0, 0, 0, 0), (5, 5, 15, 10))
    kept = bring(ada, file_of(glass))
    mask = np.asarray(open_answer(ada.get(f"{INPUTS}/{kept['alpha']}.png")))
    assert np.array_equal(mask[..., 0] > 128, np.asarray(glass)[..., 3] == 0)
    picture = open_answer(ada.get(kept["url"]))
    assert picture.getpixel((6, 6)) == (255, 255, 255)
    assert bring(ada, file_of(glass.convert("RGB")))["alpha"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask": np.zeros((40, 60))}, "The mask is empty"),
        ({"mask": np.full((40, 60), 255), "invert_mask": True}, "The mask is empty"),
        ({"mask": np.full((60, 40), 255)}, "40×60 pixels and the picture 60×40"),
        ({"outpaint": {"left": 2000}}, "would have 2060×40 pixels; at most 2048"),
        ({"outpaint": {"left": -3}}, "Left is -3; it must be at least 0."),
    ],
    ids=["empty", "inverted", "turned", "too wide", "negative"],
)
def test_what_cannot_be_masked_is_said_before_it_is_queued(ada, change, said):
    change = dict(change)
    if "mask" in change:
        white = Image.fromarray(change["mask"].astype(np.uint8))
        change["mask"] = bring(ada, file_of(white), mask=True)["id"]
    change["picture"] = bring(ada, file_of(house((60, 40))))["id"]
    answer = ada.post(PAINT, json=settings(from_picture=change))
    assert answer.status_code == 422
    assert said in sentence(answer)


def test_a_turned_photo_is_repainted_with_its_mask(ada):
    """Both files are turned by EXIF: they stand upright here, and only the masked half changes."""
    lying = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    photo = bring(ada, file_of(Image.fromarray(lying), exif=turned))
    mask = np.zeros((64, 96), np.uint8)
    mask[:, :48] = 255  # left as it lies, above as it stands
    sent = bring(ada, file_of(Image.fromarray(mask), exif=turned), mask=True)
    assert (photo["width"], photo["height"]) == (sent["width"], sent["height"]) == (64, 96)
    asked = {"picture": photo["id"], "mask": sent["id"], "mask_blur": 0, "strength": 1}
    job = paint(ada, from_picture=asked, width=64, height=96)
    made = np.asarray(open_answer(ada.get(job["pictures"][0]["url"])).convert("RGB"))
    upright = np.rot90(lying, -1)
    assert np.array_equal(made[48:], upright[48:])
    assert (made[:48] != upright[:48]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize("mask", [False, True])
def test_too_many_pixels_are_refused_with_the_numbers(ada, mask):
    huge = file_of(Image.new("1", (10_000, 10_000)))
    answer = ada.post(INPUTS, content=huge, params={"mask": mask})
    assert answer.status_code == 422
    assert "10000 × 10000 pixels; at most 40 million" in sentence(answer).replace(",", "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "SVG drawing"),
        (b"just words", "text file"),
        (b"", "empty"),
        (file_of(house())[:60], "damaged"),
        (b"GIF89a\0\0\0\0", "is a GIF file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 21_000_000, "at most 20 MB"),
    ],
    ids=["svg", "text", "empty", "half", "gif", "huge"],
)
def test_what_is_no_picture_gets_one_sentence(ada, data, said):
    answer = ada.post(INPUTS, content=data)
    assert answer.status_code == 422
    assert said in sentence(answer)


def test_more_bytes_than_any_picture_are_cut_off(ada):
    answer = ada.post(INPUTS, content=iter([b"\0" * 1_000_000] * 60))
    assert answer.status_code == 413


def test_a_gallery_picture_is_brought_in(ada, bob):
    picture = paint(ada)["pictures"][0]
    kept = ada.post(f"{INPUTS}/from-picture/{picture['id']}")
    assert kept.status_code == 201
    same = open_answer(ada.get(picture["url"])).convert("RGB")
    assert open_answer(ada.get(kept.json()["url"])).tobytes() == same.tobytes()
    assert bob.post(f"{INPUTS}/from-picture/{picture['id']}").status_code == 404


def test_newest_first_and_deleted(ada):
    first, second = bring(ada, file_of(house((20, 20)))), bring(ada, file_of(house((21, 21))))
    assert [each["id"] for each in ada.get(INPUTS, params={"limit": 2}).json()["inputs"]] == [
        second["id"],
        first["id"],
    ]
    assert ada.delete(f"{INPUTS}/{first['id']}").status_code == 204
    assert ada.get(first["url"]).status_code == 404


def test_a_drawing_takes_the_place_of_its_former_self(ada):
    former = bring(ada, file_of(house((22, 22))))
    bring(ada, file_of(house((23, 23))), instead_of=former["id"])
    assert ada.get(former["url"]).status_code == 404


# --- nobody else's --------------------------------------------------------------------------------


def test_another_s_picture_is_not_found_by_any_way(ada, bob, stranger):
    kept = bring(ada)
    assert stranger.get(kept["url"]).status_code == 401
    assert stranger.post(INPUTS, content=file_of(house())).status_code == 401
    assert bob.get(kept["url"]).status_code == 404
    assert bob.delete(f"{INPUTS}/{kept['id']}").status_code == 404
    assert bob.post(CONDITION, json={"picture": kept["id"]}).status_code == 404
    followed = settings(units=[{"picture": kept["id"], "model": "tiny-net"}])
    answer = bob.post(CONTROL, json=followed)
    assert answer.status_code == 404
    assert kept["id"] in sentence(answer)
    own = bring(bob, file_of(house((32, 32))))["id"]
    for begun in ({"picture": kept["id"]}, {"picture": own, "mask": kept["id"]}):
        answer = bob.post(PAINT, json=settings(from_picture=begun))
        assert answer.status_code == 404
        assert kept["id"] in sentence(answer)
    assert kept["id"] not in bob.get(INPUTS).text
    assert ada.get(kept["url"]).status_code == 200


@pytest.mark.parametrize("id", ["..%2f..%2fatelier.db", "%2e%2e", "0" * 31, "A" * 32, "x.png"])
def test_ids_are_no_paths(ada, id):
    assert ada.get(f"{INPUTS}/{id}.png").status_code == 404


# --- maps -----------------------------------------------------------------------------------------


def test_the_map_has_the_size_that_was_asked_for(ada):
    picture = bring(ada)["id"]
    asked = {"picture": picture, "preprocessor": "canny", "width": 128, "height": 64}
    made = open_answer(ada.post(CONDITION, json=asked))
    assert made.size == (128, 64)
    values = set(made.convert("L").tobytes())
    assert values == {0, 255}


def test_the_map_is_the_preprocessor_s(ada):
    picture = bring(ada, file_of(house((64, 64))))["id"]
    asked = {"picture": picture, "preprocessor": "scribble", "width": 64, "height": 64}
    made = open_answer(ada.post(CONDITION, json=asked))
    *_, expected = registry.annotate("scribble", house((64, 64)), {}, None, threading.Event())
    assert made.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"preprocessor": "cany"}, 404, "canny"),
        ({"preprocessor": "canny", "parameters": {"low": 999}}, 422,
         "Low threshold is 999; it must be at most 255."),
        ({"preprocessor": "canny", "parameters": {"mud": 1}}, 422, "no setting called mud"),
        ({"parameters": 3}, 422, "Parameters cannot be 3"),
        ({"width": 56}, 422, "Width is 56; it must be at least 64."),
        ({"height": 100}, 422, "Height is 100; it must be a multiple of 8."),
        ({"resize_mode": "zoom"}, 422, "Resize cannot be zoom"),
        ({"picture": "../x"}, 422, "Picture cannot be ../x"),
        ({"picture": STRANGE_ID}, 404, STRANGE_ID),
        ({"model": "tiny-net"}, 422, "no setting called model"),
    ],
)  # fmt: skip
def test_a_bad_map_is_named(ada, changes, status, said):
    answer = ada.post(CONDITION, json={"picture": bring(ada)["id"]} | changes)
    assert answer.status_code == status
    assert said in sentence(answer)


@pytest.mark.parametrize("colour", ["white", "black"])
def test_an_empty_canvas_is_refused_with_a_hint(ada, colour):
    blank = bring(ada, file_of(Image.new("RGB", (64, 64), colour)))["id"]
    answer = ada.post(CONDITION, json={"picture": blank})
    assert answer.status_code == 422
    assert "Draw some lines" in sentence(answer)


def test_a_guest_cannot_have_weights_downloaded(guest):
    asked = {"picture": bring(guest)["id"], "preprocessor": "depth_midas"}
    for answer in (
        guest.post(CONDITION, json=asked),
        guest.post(CONTROL, json=settings(units=[asked | {"model": "tiny-net"}])),
    ):
        assert answer.status_code == 403
        assert "only the host may do that" in sentence(answer)


def test_preprocessors_tell_their_parameters(ada):
    listed = ada.get("/api/v1/preprocessors").json()["preprocessors"]
    known = {each["name"]: each for each in listed}
    assert known.keys() == registry.PREPROCESSORS.keys()
    low = known["canny"]["parameters"]["properties"]["low"]
    assert (low["minimum"], low["maximum"], low["default"]) == (0, 255, 100)
    assert known["canny"]["here"] is True
    assert known["depth_midas"]["here"] is False


def test_control_models_tell_what_they_fit_and_not_where_they_lie(ada, studio):
    answer = ada.get("/api/v1/control-models", params={"base": "tiny-sd1"})
    names = [each["name"] for each in answer.json()["control_models"]]
    assert {"tiny-net", "tiny-adapter", "sd15-controlnet-canny"} <= set(names)
    assert not any(name.startswith("sdxl") for name in names)
    assert str(studio[0].home) not in ada.get("/api/v1/control-models").text
    assert ada.get("/api/v1/control-models", params={"base": "gone"}).status_code == 404


# --- jobs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steered_job(ada) -> dict:
    """A finished job with a ControlNet and an adapter."""
    first = unit(ada, parameters={"threshold": 40}, weight=0.75, resize_mode="pad")
    second = unit(ada, preprocessor="canny", model="tiny-adapter")
    answer = ada.post(CONTROL, json=settings(prompt="a house", units=[first, second]))
    assert answer.status_code == 202, answer.text
    job = wait_for(ada, answer.json()["id"])
    assert job["state"] == "done", job
    return job


def test_the_picture_says_what_it_followed(ada, steered_job):
    (picture,) = steered_job["pictures"]
    parameters = read_settings(ada.get(picture["url"]).content)
    assert parameters["ControlNet 0"].startswith("Module: scribble, Model: tiny-net, Weight: 0.75")
    assert parameters["ControlNet 1"].startswith("Module: canny, Model: tiny-adapter")
    assert [each["model"] for each in picture["request"]["units"]] == ["tiny-net", "tiny-adapter"]


def test_the_maps_of_a_picture_are_its_owner_s(ada, bob, steered_job):
    id = steered_job["pictures"][0]["id"]
    for number in range(2):
        assert open_answer(ada.get(f"/api/v1/pictures/{id}/condition/{number}.png")).size == (
            64,
            64,
        )
    assert bob.get(f"/api/v1/pictures/{id}/condition/0.png").status_code == 404
    missing = ada.get(f"/api/v1/pictures/{id}/condition/2.png")
    assert missing.status_code == 404
    assert "followed 2 maps" in sentence(missing)
    plain = paint(ada)["pictures"][0]["id"]
    assert ada.get(f"/api/v1/pictures/{plain}/condition/0.png").status_code == 404


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"picture": STRANGE_ID}, 404, STRANGE_ID),
        ({"model": "gone"}, 404, "no model called gone"),
        ({"model": "sdxl-controlnet-canny"}, 422, "These do: "),
        ({"preprocessor": "gone"}, 404, "no preprocessor called gone"),
        ({"preprocessor": "canny", "parameters": {"high": -1}}, 422,
         "High threshold is -1; it must be at least 0."),
        ({"weight": 2.5}, 422, "Weight is 2.5; it must be at most 2."),
        ({"start": 0.9, "end": 0.1}, 422, "starts at 0.9 and ends at 0.1"),
        ({"mud": 1}, 422, "no setting called mud"),
    ],
)  # fmt: skip
def test_a_bad_unit_is_named_before_it_is_queued(ada, changes, status, said):
    answer = ada.post(CONTROL, json=settings(units=[unit(ada) | changes]))
    assert answer.status_code == status
    assert said in sentence(answer)


def test_a_guest_cannot_have_control_models_downloaded(guest):
    answer = guest.post(CONTROL, json=settings(units=[unit(guest, model="sd15-controlnet-canny")]))
    assert answer.status_code == 403
    assert "only the host may do that" in sentence(answer)


def test_what_a_waiting_job_follows_cannot_be_deleted(ada):
    followed = unit(ada, picture=bring(ada, file_of(house((50, 50))))["id"])
    long = settings(steps=150, batch_count=16, units=[followed])
    job = ada.post(CONTROL, json=long).json()
    try:
        answer = ada.delete(f"{INPUTS}/{followed['picture']}")
        assert answer.status_code == 422
        assert "Cancel it first" in sentence(answer)
    finally:
        ada.post(f"/api/v1/jobs/{job['id']}/cancel")
    wait_for(ada, job["id"])
    assert ada.delete(f"{INPUTS}/{followed['picture']}").status_code == 204


def test_all_of_one_s_pictures_are_deleted_at_once_and_nobody_else_s(ada, bob):
    mine, others = bring(bob), bring(ada)
    paint(bob)
    job = bob.request("DELETE", "/api/v1/pictures").json()
    assert wait_for(bob, job["id"])["state"] == "done"
    assert bob.get(mine["url"]).status_code == 404
    assert bob.get("/api/v1/pictures").json()["pictures"] == []
    assert ada.get(others["url"]).status_code == 200


# --- Gradio's own way in --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/gradio_api/component_server", "/gradio_api/component_server/"])
@pytest.mark.parametrize("function", ["accept_blobs", "ls", "postprocess"])
def test_gradio_s_component_server_stays_closed(ada, path, function):
    body = {"data": [], "component_id": 1, "fn_name": function, "session_hash": "x"}
    answer = ada.post(path, json=body)
    assert answer.status_code == 404
    assert "nothing at" in sentence(answer)


def test_no_component_of_the_page_has_functions_for_the_browser(ada):
    components = page_config(ada)["components"]
    assert len(components) > 100
    assert [c["id"] for c in components if c["props"].get("server_fns")] == []
