"""Which autoencoder has decoded a picture, as A1111 writes it and as it is read back."""

from __future__ import annotations

import pytest

from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import samplers_in
from studio.core.gallery.metadata import format_parameters, parameters_of, parse_parameters
from studio.core.gallery.reuse import fields_of, unused_settings


@pytest.mark.parametrize(("decoder", "written"), [("fast", "TAESD"), ("full", "Full")])
def test_a_chosen_decoder_is_written_and_read_back(decoder, written):
    request = TextToImageRequest(prompt="a mug", steps=4, decoder=decoder)
    text = format_parameters(parameters_of(request.model_dump(), (64, 64)))
    assert f"VAE Decoder: {written}" in text
    assert fields_of(parse_parameters(text))["decoder"] == decoder


def test_without_a_choice_nothing_is_written():
    parameters = parameters_of(TextToImageRequest(prompt="a mug", steps=4).model_dump(), (64, 64))
    assert "VAE Decoder" not in parameters
    assert "decoder" not in fields_of(parameters)


def test_a_decoder_that_is_not_known_is_said_to_be_left_out(tmp_path):
    parameters = parse_parameters("a mug\nSteps: 4, Sampler: Euler, Seed: 1, VAE Decoder: Cascade")
    assert "decoder" not in fields_of(parameters)
    left = unused_settings(parameters, [], samplers_in(tmp_path), ControlCatalog(tmp_path))
    assert "VAE Decoder" in left
