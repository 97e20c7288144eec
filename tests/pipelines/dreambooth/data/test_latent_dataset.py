"""Which photos a batch holds, at which size, with which words."""

from __future__ import annotations

import torch
from PIL import Image

from pipelines.dreambooth.data.latent_dataset import (
    Dataset,
    Example,
    bucket_of,
    bucket_sizes,
    class_examples,
    encoder,
    photo_examples,
)


def example(number: int, size=(64, 64)) -> Example:
    mean = torch.full((4, size[1] // 8, size[0] // 8), float(number))
    return Example(mean, torch.zeros_like(mean), f"photo {number}", size)


def dataset(count: int, batch_size: int, **settings) -> Dataset:
    return Dataset([[example(i)] for i in range(count)], {}, batch_size, **settings)


def test_every_photo_comes_once_an_epoch_and_in_another_order_each_time():
    data = dataset(6, 2, seed=3)
    orders = []
    for epoch in range(4):
        seen = [int(x[0, 0, 0]) for n in range(3) for x in data.batch(3 * epoch + n).latents]
        assert sorted(seen) == list(range(6))
        orders.append(tuple(seen))
    assert len(set(orders)) > 1


def test_a_batch_that_would_not_be_full_is_filled_with_other_photos():
    batches = dataset(5, 2).epoch(0)
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert {index for batch in batches for index in batch} == set(range(5))
    assert all(len(set(batch)) == 2 for batch in batches)


def test_a_batch_follows_from_its_number_alone():
    data, again = dataset(5, 2, seed=9, caption_dropout=0.5), dataset(
        5, 2, seed=9, caption_dropout=0.5
    )  # fmt: skip
    later = [data.batch(n) for n in range(8)]
    for number in (7, 0, 3, 3):
        batch = again.batch(number)
        assert torch.equal(batch.latents, later[number].latents)
        assert batch.captions == later[number].captions


def test_class_pictures_stand_behind_as_many_photos_and_come_in_turn():
    others = {(64, 64): [example(100 + i) for i in range(3)]}
    data = Dataset([[example(i)] for i in range(4)], others, 4)
    batch = data.batch(0)
    assert batch.instances == 4
    assert batch.captions[4:] == [f"photo {int(x[0, 0, 0])}" for x in batch.latents[4:]]
    assert {int(x[0, 0, 0]) for x in batch.latents[4:]} == {100, 101, 102}


def test_captions_are_left_out_as_often_as_asked():
    data = dataset(4, 2, caption_dropout=0.25)
    captions = [caption for n in range(400) for caption in data.batch(n).captions]
    assert 0.2 < captions.count("") / len(captions) < 0.3
    assert "" in data.captions


def test_buckets_have_about_the_pixels_of_the_square_and_fit_the_autoencoder():
    for resolution in (64, 128, 512, 1024):
        sizes = bucket_sizes(resolution)
        assert (resolution, resolution) in sizes
        for width, height in sizes:
            assert width % 8 == height % 8 == 0
            assert 0.74 < width * height / resolution**2 <= 1
            assert max(width, height) <= 2 * min(width, height)


def test_a_photo_goes_to_the_bucket_of_its_shape():
    assert bucket_of((4000, 4000), 512) == (512, 512)
    width, height = bucket_of((4000, 3000), 512)
    assert 1.2 < width / height < 1.5
    assert bucket_of((1000, 9000), 512) == min(bucket_sizes(512), key=lambda s: s[0] / s[1])


def test_batches_never_mix_sizes():
    photos = [[example(i, (64, 64) if i % 3 else (96, 40))] for i in range(7)]
    data = Dataset(photos, {}, 2)
    for number in range(20):
        batch = data.batch(number)
        assert batch.latents.shape[-2:] == (batch.size[1] // 8, batch.size[0] // 8)


class Photo:
    id, width, height, caption = "x", 200, 100, "a [trigger] and another [trigger]"

    def image(self, size):
        picture = Image.new("RGB", size, "white")
        picture.paste("black", (0, 0, size[0] // 2, size[1]))
        return picture


def test_photos_are_encoded_at_their_size_with_the_trigger_in_place(twin_folder):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(twin_folder("sd1") / "vae")
    encode = encoder(vae, "cpu")
    ((plain, mirrored),) = photo_examples([Photo()], "sks cat", 64, True, True, encode)
    assert plain.caption == "a sks cat and another sks cat"
    assert plain.size == bucket_of((200, 100), 64)
    width, height = plain.size
    assert plain.mean.shape == (4, height // 8, width // 8)
    assert not torch.allclose(plain.mean, mirrored.mean)
    pixels = torch.full((1, 3, height, width), 1.0)
    pixels[..., : width // 2] = -1
    with torch.no_grad():
        wanted = vae.encode(pixels).latent_dist
    torch.testing.assert_close(plain.mean, wanted.mean[0] * vae.config.scaling_factor)
    torch.testing.assert_close(plain.std, wanted.std[0] * vae.config.scaling_factor)


def test_class_pictures_are_there_at_every_size_of_a_photo():
    encode = lambda picture: (torch.zeros(4, picture.height // 8, picture.width // 8),) * 2  # noqa: E731
    pictures = [Image.new("RGB", (64, 64))] * 3
    examples = class_examples(pictures, "a cat, number {}".format, {(64, 64), (88, 40)}, encode)
    assert {size: len(found) for size, found in examples.items()} == {(64, 64): 3, (88, 40): 3}
    assert examples[(88, 40)][0].mean.shape == (4, 5, 11)
    assert [each.caption for each in examples[(64, 64)]] == [f"a cat, number {n}" for n in range(3)]
