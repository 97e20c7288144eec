"""Lines read back from paintings: softened edges against OpenCV's, gradients to one network."""

import cv2
import numpy as np
import pytest
import torch

from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.toybox.measure import edge_f1
from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import held_out_scene, is_reserved, training_scene
from pipelines.toybox.train import consistency, render_shards
from pipelines.toybox.train import text_encoder as train_text
from pipelines.toybox.train import unet as train_unet
from pipelines.toybox.train.consistency import edge_loss, edge_strength, spread
from pipelines.toybox.train.control import make_network, steer
from pipelines.toybox.train.render_shards import Shards, make_shards
from pipelines.toybox.vocabulary import FIRST_RELEASE

pytestmark = pytest.mark.usefixtures("renderer")


def _tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def _image(picture):
    shown = ((picture[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return shown.permute(1, 2, 0).numpy().copy()


def _square(left, colour=(0.9, -0.5, 0.3)):
    picture = torch.full((1, 3, 48, 48), -0.2)
    picture[:, :, 12:36, left : left + 20] = torch.tensor(colour)[:, None, None]
    return picture


def _lines(picture):
    return torch.from_numpy(cv2.Canny(_image(picture), 100, 200) > 0)[None, None]


@pytest.mark.parametrize("threshold", [60, 100, 200])
def test_crests_above_a_strength_are_what_canny_finds(threshold):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    for image in (render(held_out_scene(3, FIRST_RELEASE)).image, cv2.blur(noise, (3, 3))):
        strength, crests = edge_strength(_tensor(image))
        found = ((strength > threshold + 0.5) & crests)[0, 0].numpy()
        assert np.array_equal(found, cv2.Canny(image, threshold, threshold) > 0)
        assert found.any()


def test_lines_spread_as_the_measurement_spreads_them():
    dots = (np.random.default_rng(0).random((40, 40)) < 0.03).astype(np.uint8)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    spreaded = spread(torch.from_numpy(dots)[None, None].float())[0, 0].numpy()
    assert np.array_equal(spreaded, cv2.dilate(dots, brush))


def test_the_loss_is_low_where_lines_are_met_and_high_where_they_are_not():
    lines = _lines(_square(14))
    met, shifted, empty = (
        edge_loss(picture, lines).item()
        for picture in (_square(14), _square(22), torch.zeros(1, 3, 48, 48))
    )
    assert met < 0.01
    assert met < shifted < empty == 1


def test_a_faint_line_costs_less_than_none_and_other_edges_cost_too():
    lines = _lines(_square(14))
    faint = _square(14, (-0.1, -0.2, -0.2))
    assert 0.3 < edge_loss(faint, lines).item() < 0.95
    more = _square(14)
    more[:, :, 2:6, 2:40] = 0.9
    assert edge_loss(more, lines).item() > edge_loss(_square(14), lines).item() + 0.1
    anywhere = torch.ones_like(lines)
    assert edge_loss(more, lines, anywhere).item() < 0.01, "nothing is stray where all is allowed"


def test_following_the_gradient_draws_the_lines():
    torch.manual_seed(0)
    lines = _lines(_square(14))
    wanted = lines[0, 0].numpy().astype(np.uint8) * 255
    picture = (_square(24) + 0.02 * torch.randn(1, 3, 48, 48)).requires_grad_()
    before = edge_f1(cv2.Canny(_image(picture.detach()), 100, 200), wanted)
    optimizer = torch.optim.Adam([picture], lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        edge_loss(picture, lines).sum().backward()
        optimizer.step()
    after = edge_f1(cv2.Canny(_image(picture.detach()), 100, 200), wanted)
    assert before < 0.7
    assert after > 0.9


def test_words_contradict_and_never_ask_for_what_is_kept_for_measuring():
    rng = np.random.default_rng(0)
    changed = 0
    for seed in range(300):
        scene = training_scene(seed, FIRST_RELEASE)
        asked = consistency.contradict(scene, rng)
        assert [each.kind for each in asked.things] == [each.kind for each in scene.things]
        assert not any(is_reserved(thing, asked.place) for thing in asked.things)
        changed += asked.place != scene.place and asked.things[0].colour != scene.things[0].colour
    assert changed > 120  # of 300: (0.8 · 8/9) · (0.8 · 11/12) = 52 %


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Tiny random networks and six renders."""
    monkeypatch.setattr(render_shards, "SHARD", 6)
    monkeypatch.setattr(train_text, "VOCABULARY", 600)
    monkeypatch.setattr(train_text, "CORPUS", 100)
    monkeypatch.setattr(train_unet, "WIDTHS", (16, 32, 48))
    torch.manual_seed(0)
    list(make_shards(tmp_path / "renders", 6, FIRST_RELEASE, threads=1))
    train_text.make_tokenizer(tmp_path / "tokenizer")
    tokenizer = train_text.CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    text_encoder = train_text.make_text_encoder(tokenizer).requires_grad_(False)
    vae = PatchAutoencoder()
    patches = torch.rand(500, 192) * 2 - 1
    vae.set_principal_components(patches)
    vae.requires_grad_(False)
    unet = train_unet.make_unet(text_encoder.config.hidden_size, vae.config.latent_channels)
    latents = train_unet.Latents(Shards(tmp_path / "renders"), vae, 128)
    return unet.requires_grad_(False), latents, vae, tokenizer, text_encoder


def test_the_gradient_reaches_the_controlnet_and_nothing_else(parts):
    unet, latents, vae, tokenizer, text_encoder = parts
    network = make_network("controlnet", unet)
    rng = np.random.default_rng(0)
    paintings = consistency.Paintings(latents, vae, tokenizer, text_encoder, 2, "cpu", rng)
    for _ in range(4):
        x, t, text, maps = paintings.inputs
        loss = paintings.judge(steer(unet, network, x, t, text, maps))
    assert loss.item() > 0
    loss.backward()
    assert network.controlnet_mid_block.weight.grad.abs().max() > 0
    for module in (unet, vae, text_encoder):
        assert all(parameter.grad is None for parameter in module.parameters())


def test_rows_go_on_to_less_noise_and_begin_anew_when_they_are_finished(parts):
    unet, latents, vae, tokenizer, text_encoder = parts
    rng = np.random.default_rng(0)
    paintings = consistency.Paintings(latents, vae, tokenizer, text_encoder, 1, "cpu", rng)
    seen, first = [], paintings.drawings[0]
    with torch.no_grad():
        for _ in range(consistency.STEPS):
            assert paintings.drawings[0] is first
            seen.append(paintings.times[0][0])
            x, t, text, _ = paintings.inputs
            paintings.judge(unet(x, t, text).sample)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] >= 900
    assert seen[-1] < 100
    assert paintings.drawings[0] is not first
    assert paintings.times[0][0] >= 900


def test_a_hands_drawing_forbids_no_edges_and_asks_only_for_those_it_shows(parts):
    latents = parts[1]
    latents.refresh()
    rng = np.random.default_rng(0)
    kinds = {True: 0, False: 0}
    for _ in range(20):
        drawing = consistency.draw(latents, rng)
        kinds[drawing.exact] += 1
        if drawing.exact:
            assert np.array_equal(drawing.lines, drawing.condition > 127)
            assert not drawing.allowed.all()
        else:
            assert drawing.allowed.all()
    assert min(kinds.values()) > 2


def test_kept_weights_lie_between_those_before_and_after():
    before, after = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    made = consistency.between(before, after, 0.25)
    for ends in zip(before.parameters(), after.parameters(), made.parameters(), strict=True):
        first, last, kept = ends
        torch.testing.assert_close(kept, 0.75 * first + 0.25 * last)
    assert made is not before
