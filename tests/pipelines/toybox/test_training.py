"""The training command from renders to an exported pipeline, seconds long, in one work folder."""

import copy
import json
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, T2IAdapter, UNet2DConditionModel
from safetensors.torch import load_file
from spandrel import ModelLoader

from pipelines.core.paths import ASSETS
from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import mirror, training_scene
from pipelines.toybox.segmenter import load_segmenter
from pipelines.toybox.train import command as train
from pipelines.toybox.train import control, judge, render_shards, starter_decoder
from pipelines.toybox.train import depth as train_depth
from pipelines.toybox.train import segmenter as train_segmenter
from pipelines.toybox.train import text_encoder as train_text
from pipelines.toybox.train import unet as train_unet
from pipelines.toybox.train import upscaler as train_upscaler
from pipelines.toybox.train.render_shards import Shards, inverse_depth, make_shards
from pipelines.toybox.train.run import Optimizers, Run
from pipelines.toybox.train.student import few_steps
from pipelines.toybox.vocabulary import FIRST_RELEASE, HELD_OUT, KINDS

SECONDS = ["--minutes", "0.003", "--device", "cpu"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder through which the whole command line has gone once."""
    folder = tmp_path_factory.mktemp("toybox")
    patch = pytest.MonkeyPatch()
    patch.setattr(render_shards, "SHARD", 6)
    patch.setattr(train_text, "VOCABULARY", 700)
    patch.setattr(train_text, "CORPUS", 300)
    patch.setattr(train_text, "EXAM", 10)
    patch.setattr(train_unet, "SHEET", 2)
    patch.setattr(train_unet, "WIDTHS", (16, 32, 48))
    patch.setattr(control, "SHEET", 1)
    # Two threads where another process has a core are slow, and the tests after these ones would
    # have them too.
    patch.setattr(torch, "set_num_threads", lambda _: None)
    # Few steps and small batches: what takes time here, and nothing below asks for more.
    for module in (train_unet, control):
        patch.setattr(module, "sample", partial(train_unet.sample, steps=2))
    patch.setattr(starter_decoder, "make_painted", partial(starter_decoder.make_painted, batch=6))
    patch.setattr(starter_decoder, "train", partial(starter_decoder.train, batch=4))
    patch.setattr(judge, "train", partial(judge.train, batch=8))
    patch.setattr(train_segmenter, "train", partial(train_segmenter.train, batch=4))
    patch.setattr(train_upscaler, "train", partial(train_upscaler.train, batch=2))
    patch.setattr(train_upscaler, "_FIRST", 8)
    patch.setattr(train_upscaler, "LAYERS", 2)
    patch.chdir(folder)
    for command in (
        ["renders", "--count", "12", "--threads", "2"],
        ["renders", "--size", "256", "--count", "2", "--threads", "2"],
        ["autoencoder", *SECONDS],
        ["text", *SECONDS],
        ["base", "--size", "64", "--batch", "2", *SECONDS],
        ["decoder", *SECONDS],
        ["decoder", *SECONDS],  # goes on with what the first call has painted
        ["decoder", "--size", "256", "--paint", "0.001", *SECONDS],
        ["judge", *SECONDS],
        ["segmenter", *SECONDS],
        ["depth", *SECONDS],
        ["upscaler", "--starter", str(ASSETS / "starter"), *SECONDS],
        ["controlnet", "--condition", "depth", "--batch", "2", *SECONDS],
        ["adapter", "--condition", "sketch", "--batch", "2", *SECONDS],
        ["student", "--method", "matching", "--batch", "2", *SECONDS],
        ["student", "--method", "consistency", "--batch", "2", *SECONDS],
        ["export", "--starter", "starter"],
    ):
        train.main([*command, "--work", str(folder / "work")])
    yield folder
    patch.undo()


@pytest.mark.deep
def test_renders_are_made_once_and_each_depends_on_its_seed_alone(work):
    shards = Shards(work / "work" / "renders")
    assert len(shards) == 12
    scene = training_scene(render_shards.FIRST_SEED + 7, FIRST_RELEASE)
    assert shards.scenes[7] == scene
    np.testing.assert_array_equal(shards.image(7), render(scene).image)
    before = [path.stat().st_mtime_ns for path in sorted((work / "work/renders").glob("*.npy"))]
    list(make_shards(work / "work" / "renders", 12, FIRST_RELEASE))
    after = [path.stat().st_mtime_ns for path in sorted((work / "work/renders").glob("*.npy"))]
    assert before == after


@pytest.mark.deep
def test_renders_of_256_pixels_have_shards_as_long_in_bytes_and_exact_masks(work):
    shards = Shards(work / "work" / "renders-256")
    assert [len(images) for images in shards.images] == [1, 1], "a fourth of six, of all kinds here"
    fine = render(shards.scenes[1], 256, 256)
    np.testing.assert_array_equal(shards.image(1), fine.image)
    np.testing.assert_array_equal(shards.mask(1), fine.mask)
    assert shards.depth(1).shape == (256, 256)
    half = Shards(shards.folder, 128)
    mean = fine.image.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert np.abs(half.image(1) - mean).max() <= 0.5
    assert half.depth(1).shape == (128, 128)
    np.testing.assert_array_equal(2 * half.boxes[1], fine.boxes)
    assert render_shards.scenes_a_shard(128) == 6


@pytest.mark.deep
def test_the_exported_segmenter_cuts_and_is_taken_up_again(work):
    segmenter = load_segmenter(work / "starter" / "segmenter")
    cut = segmenter.cut(Shards(work / "work" / "renders-256").image(0), 2)
    assert [each.shape for each in cut] == [(128, 128), (128, 128)]


@pytest.mark.deep
def test_the_exported_upscaler_is_a_file_that_other_programs_open(work):
    path = work / "starter" / train.UPSCALER
    descriptor = ModelLoader().load_from_file(path)
    assert (descriptor.architecture.id, descriptor.scale) == ("Compact", 2)
    assert descriptor(torch.rand(1, 3, 9, 7)).shape == (1, 3, 18, 14)
    assert "`upscalers`" in (work / "starter" / "README.md").read_text()
    facts = json.loads((work / "starter" / "training.json").read_text())
    assert facts["upscaler"]["samples"] == Run(work / "work" / "upscaler").samples > 0


def test_the_upscaler_begins_as_the_best_linear_filter():
    """Pictures that were made by one filter of 5×5 pixels are made again exactly."""
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(40, 3, 16, 16, generator=generator)
    kernel = torch.randn(12, 3, 5, 5, generator=generator) / 20
    made = torch.nn.functional.conv2d(low, kernel, padding=2)
    doubled = low.repeat_interleave(2, 2).repeat_interleave(2, 3)
    high = torch.nn.functional.pixel_shuffle(made, 2) + doubled
    model = train_upscaler.new_upscaler()
    train_upscaler.set_linear_optimum(model, low, high)
    with torch.no_grad():
        away = (model(low) - high)[..., 6:-6, 6:-6].abs().max()
    assert away < 2e-3


@pytest.mark.deep
def test_latents_belong_to_their_scenes_and_mirror_images(work):
    vae = PatchAutoencoder()
    latents = train_unet.Latents(Shards(work / "work" / "renders"), vae, 128)
    assert latents.refresh() == 24
    assert latents.scene(14) == latents.shards.scenes[7]
    assert latents.scene(15) == mirror(latents.shards.scenes[7])
    image = np.ascontiguousarray(latents.shards.image(7)[:, ::-1])
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = vae.encode(x).latent_dist.mode().half().float()
    torch.testing.assert_close(latents.batch([15]), expected, atol=2e-3, rtol=2e-3)


@pytest.mark.deep
def test_a_second_call_goes_on_where_the_first_ended(work):
    path = work / "work"
    before = Run(path / "base")
    weights = before.get("unet")["conv_in.weight"].clone()
    train.main(["base", "--size", "64", "--batch", "2", *SECONDS, "--work", str(path)])
    after = Run(path / "base")
    assert after.samples > before.samples
    assert after.seconds > before.seconds
    moved = (after.get("unet")["conv_in.weight"] - weights).abs().max()
    assert 0 < moved < 0.05, "resumed from the weights, not from new ones"


@pytest.mark.deep
@pytest.mark.parametrize("method", ["consistency", "matching"])
def test_a_student_lies_beside_its_training_as_others_read_loras(work, method):
    run = Run(work / "work" / f"student-{method}")
    weights = load_file(run.folder / few_steps.WEIGHTS)
    assert run.samples > 0
    trained = run.get("ema")
    assert {name.removeprefix("unet.") for name in weights} == set(trained)
    for name, tensor in weights.items():
        assert torch.equal(tensor, trained[name.removeprefix("unet.")].half())


@pytest.mark.deep
def test_the_export_is_a_stable_diffusion_pipeline(work):
    base = work / "starter" / "base"
    pipe = StableDiffusionPipeline.from_pretrained(
        base,
        vae=PatchAutoencoder.from_pretrained(base / "vae", dtype=torch.float32),
        safety_checker=None,
        dtype=torch.float32,
    )
    pipe.set_progress_bar_config(disable=True)
    picture = pipe("a red mug", num_inference_steps=2, width=64, height=64).images[0]
    assert picture.size == (64, 64)
    assert pipe.scheduler.config.prediction_type == "v_prediction"


@pytest.mark.deep
def test_the_card_tells_what_was_trained_and_what_was_measured(work):
    starter = work / "starter"
    facts = json.loads((starter / "training.json").read_text())
    unmeasured = (starter / "README.md").read_text()
    assert "have not been measured" in unmeasured
    assert f"{facts['base']['samples']:,} latents" in unmeasured
    (starter / "scores.txt").write_text("object 12.3")
    (starter / "control_scores.txt").write_text("edges 0.45")
    train.main(["card", "--starter", str(starter)])
    card = (starter / "README.md").read_text()
    assert "object 12.3" in card
    assert "edges 0.45" in card
    assert "have not been measured" not in card


@pytest.mark.deep
def test_adopting_the_export_gives_the_same_weights_and_counts(work):
    train.main(["adopt", "--work", str(work / "again"), "--starter", str(work / "starter")])
    facts = json.loads((work / "starter" / "training.json").read_text())
    for name in (
        *train.RUNS,
        "decoder",
        "decoder-256",
        "segmenter",
        "depth",
        "controlnet-depth",
        "adapter-sketch",
        "student-consistency",
    ):
        assert Run(work / "again" / name).samples == facts[name]["samples"]
    exported = PatchAutoencoder.from_pretrained(work / "starter" / "base" / "vae").state_dict()
    adopted = Run(work / "again" / "autoencoder").get("model")
    for name, tensor in exported.items():
        assert torch.equal(tensor.float(), adopted[name])
    student = load_file(work / "starter" / train.STUDENT / few_steps.WEIGHTS)
    adopted = Run(work / "again" / "student-consistency").get("student")
    assert {name.removeprefix("unet.") for name in student} == set(adopted)
    assert all(torch.equal(student[f"unet.{name}"].float(), adopted[name]) for name in adopted)
    with pytest.raises(SystemExit, match="holds a training already"):
        train.main(["adopt", "--work", str(work / "again"), "--starter", str(work / "starter")])


@pytest.mark.deep
def test_the_last_training_of_the_decoder_keeps_the_encoder_and_so_all_latents(work):
    first, last = (Run(work / "work" / name).get("model") for name in ("autoencoder", "decoder"))
    assert torch.equal(first["encoder.weight"], last["encoder.weight"])
    assert not torch.equal(first["refiner.conv_in.weight"], last["refiner.conv_in.weight"])
    exported = PatchAutoencoder.from_pretrained(work / "starter" / "base" / "vae").state_dict()
    assert torch.equal(exported["refiner.conv_in.weight"], last["refiner.conv_in.weight"].half())


@pytest.mark.deep
def test_the_decoder_for_256_pixels_learns_and_leaves_that_for_128_inside_as_it_is(work):
    run, finished = Run(work / "work" / "decoder-256"), Run(work / "work" / "decoder")
    larger, smaller = run.get("model"), finished.get("model")
    for name in ("decoder.weight", "refiner.conv_in.weight"):
        assert torch.equal(larger[name], smaller[name])
    assert larger["enlarger.conv_out.weight"].abs().max() > 0, "it has learnt"
    steps = {int(state["step"]) for state in run.get("optimizer")["state"].values()}
    assert steps == {run.samples // 4}, "its optimizer is saved too"
    with np.load(run.folder / "painted.npz") as file:
        assert len(file["latents"]) == len(file["entries"]) >= 6
    exported = PatchAutoencoder.from_pretrained(work / "starter-256").float()
    again = Run(work / "again" / "decoder-256").get("model")["enlarger.conv_out.weight"]
    assert torch.equal(again, exported.state_dict()["enlarger.conv_out.weight"])
    assert exported.decode(torch.zeros(1, 12, 4, 4)).sample.shape == (1, 3, 64, 64)


@pytest.mark.deep
def test_what_is_painted_again_from_next_to_no_noise_is_what_it_was(work):
    run = Run(work / "work" / "base")
    shards = Shards(work / "work" / "renders")
    tokenizer = train_text.CLIPTokenizer.from_pretrained(work / "work" / "tokenizer")
    text_encoder = train_text.make_text_encoder(tokenizer)
    vae = PatchAutoencoder()
    Run(work / "work" / "autoencoder").load(model=vae)
    latents = train_unet.Latents(shards, vae.requires_grad_(False), 128)
    latents.refresh()
    unet, rng = train_unet.load_average(run), np.random.default_rng(0)
    indices = [0, 3, 7]
    again = starter_decoder.paint_again(latents, unet, tokenizer, text_encoder, indices, 1, rng)
    assert (again.float() - latents.batch(indices)).abs().mean() < 0.05
    far = starter_decoder.paint_again(latents, unet, tokenizer, text_encoder, indices, 900, rng)
    assert (far.float() - latents.batch(indices)).abs().mean() > 0.3


@pytest.mark.deep
def test_the_exported_control_models_fit_the_exported_base(work):
    starter = work / "starter"
    net = ControlNetModel.from_pretrained(starter / "controlnet-depth")
    unet = UNet2DConditionModel.from_pretrained(starter / "base" / "unet")
    assert net.config.block_out_channels == unet.config.block_out_channels
    adapter = T2IAdapter.from_pretrained(starter / "adapter-sketch").float()
    maps = adapter(torch.zeros(1, 3, 128, 128))
    assert [(each.shape[1], each.shape[2]) for each in maps] == [(16, 16), (32, 8), (48, 4)]
    assert not (starter / "controlnet-sketch").exists(), "it has not been trained"


@pytest.mark.deep
def test_a_control_training_leaves_the_base_as_it_is_and_moves_its_own_weights(work):
    state = Run(work / "work" / "controlnet-depth")
    base = Run(work / "work" / "base").get("ema")
    copied = state.get("network")["mid_block.resnets.0.conv1.weight"]
    assert (copied - base["mid_block.resnets.0.conv1.weight"]).abs().max() > 0
    zero = state.get("network")["controlnet_mid_block.weight"]
    assert zero.abs().max() > 0, "the zero convolution has learnt"


@pytest.mark.deep
@pytest.mark.parametrize(
    ("method", "condition", "weight"),
    [
        ("controlnet", "depth", "controlnet_mid_block.weight"),
        ("adapter", "sketch", "adapter.conv_in.weight"),
    ],
)
def test_a_second_call_of_a_control_training_goes_on_too(method, condition, weight, work):
    path, batch = work / "work", 2
    before = Run(path / f"{method}-{condition}")
    first, average = (before.get(name)[weight].clone() for name in ("network", "ema"))
    gentle = ["--condition", condition, "--batch", str(batch), "--lr", "1e-7", *SECONDS]
    train.main([method, *gentle, "--work", str(path)])
    after = Run(path / f"{method}-{condition}")
    assert after.samples > before.samples
    assert after.seconds > before.seconds
    moved = (after.get("network")[weight] - first).abs().max()
    assert 0 < moved < 0.1 * first.abs().max(), "from the weights, not from zeros or new ones"
    followed = (after.get("ema")[weight] - average).abs().max()
    assert followed <= 1.01 * ((first - average).abs().max() + moved), "so does their average"
    steps = {int(state["step"]) for state in after.get("adamw")["state"].values()}
    assert steps == {after.samples // batch}, "the optimizer goes on as well"


@pytest.mark.deep
def test_consistency_goes_on_from_the_averaged_controlnet_and_can_be_called_again(work):
    path = work / "work"
    gentle = ["--batch", "2", "--lr", "1e-6", *SECONDS, "--work", str(path)]
    train.main(["controlnet", "--condition", "sketch", *gentle])
    weight = "controlnet_mid_block.weight"
    runs = [Run(path / "controlnet-sketch")]
    for _ in range(2):
        train.main(["consistency", *gentle])
        runs.append(Run(path / "controlnet-sketch"))
    for before, after in pairwise(runs):
        assert after.samples > before.samples
        assert after.get("painted") > before.get("painted")
        moved = (after.get("network")[weight] - before.get("ema")[weight]).abs().max()
        assert 0 < moved < 1e-3, "from the average"
    base = Run(path / "base").get("ema")
    train.main(["controlnet", "--condition", "sketch", *gentle])
    assert Run(path / "controlnet-sketch").get("painted") == runs[-1].get("painted"), "is not lost"
    for name, tensor in Run(path / "base").get("ema").items():
        assert torch.equal(tensor, base[name])
    with pytest.raises(SystemExit, match="sketch"):
        train.main(["consistency", "--condition", "depth", *gentle])


def test_depth_maps_are_bright_where_it_is_near():
    depth = np.array([[1.0, 2.0], [4.0, np.inf]], np.float32)
    assert inverse_depth(depth).tolist() == [[255, 128], [64, 0]]


def test_the_errors_of_a_perfect_estimate_are_nil_whatever_its_scale(renderer):
    scene = render(training_scene(3, FIRST_RELEASE), 64, 64)

    class Perfect(torch.nn.Module):
        device = "cpu"

        def forward(self, x):
            return torch.from_numpy(0.3 + 0.5 / scene.depth)[None, None]

    error, share = train_depth.errors(Perfect(), [scene])
    assert error < 1e-3
    assert share == 1.0


@pytest.mark.deep
def test_any_text_encodes_and_no_token_stands_for_the_unknown(work):
    tokenizer = train_text.CLIPTokenizer.from_pretrained(work / "starter" / "base" / "tokenizer")
    end = tokenizer.eos_token_id
    for text in ("a crimson automobile", "你好，世界", "émigré ☃ 😀", "x" * 40, "#@!"):
        ids = tokenizer(text).input_ids[1:-1]
        assert ids
        assert end not in ids, text
        assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")


@pytest.mark.deep
def test_held_out_words_are_no_tokens_of_their_own(work):
    tokenizer = train_text.CLIPTokenizer.from_pretrained(work / "starter" / "base" / "tokenizer")
    words = {word for kind in HELD_OUT for word in KINDS[kind] if word.isalpha() and word != "hat"}
    for word in words:
        assert len(tokenizer(word).input_ids) > 3, word


def test_a_training_without_renders_says_what_to_do(tmp_path):
    with pytest.raises(SystemExit, match="run the command 'renders' first"):
        train.main(["autoencoder", "--work", str(tmp_path)])


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3), torch.nn.Conv2d(4, 2, 1)]
    return torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _learn(network, optimizers, steps, lr=0.01):
    for step in range(steps):
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        network(x).square().mean().backward()
        optimizers.step(lr)


def test_hidden_convolutions_step_along_the_polar_factor_of_their_gradient(network):
    optimizers = Optimizers(network, first_and_last=("0.", "2."))
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    before, weight = network[1].weight.detach().clone(), network[1].weight
    u, _, vh = torch.linalg.svd(weight.grad.flatten(1), full_matrices=False)
    optimizers.step(0.01)
    step = (before * (1 - 0.01 * 0.01) - weight.detach()).flatten(1)
    usual_length = 0.01 * 0.2 * 72**0.5  # of AdamW's steps, for a matrix (4, 72)
    error = (step - usual_length * (u @ vh)).norm() / (usual_length * (u @ vh)).norm()
    assert error < 0.3, "Muon's iteration leaves the directions' lengths between 0.7 and 1.2"


def test_the_layers_next_to_input_and_output_step_as_adamw_steps(network):
    before = network[2].weight.detach().clone()
    _learn(network, Optimizers(network, first_and_last=("0.", "2.")), 1)
    step = (network[2].weight - before * (1 - 0.01 * 0.01)).detach().abs()
    torch.testing.assert_close(step, torch.full_like(step, 0.01), rtol=1e-3, atol=0)


def test_optimizers_go_on_from_their_saved_state(network, tmp_path):
    names = ("0.", "2.")
    optimizers = Optimizers(network, names)
    _learn(network, optimizers, 3)
    Run(tmp_path).save(model=network, **optimizers.parts)
    _learn(network, optimizers, 2)
    resumed = torch.nn.Sequential(*map(copy.deepcopy, network))
    (run := Run(tmp_path)).load(model=resumed)
    again = Optimizers(resumed, names)
    run.load(**again.parts)
    _learn(resumed, again, 2)
    for one, other in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_log_has_the_running_average_of_losses(tmp_path):
    run = Run(tmp_path)
    lines = [line for loss in (1.0, 2.0, 3.0, 1.06) for line in
             run.step(torch.tensor(loss), samples=8, every=2, lr=0.5)]  # fmt: skip
    # 1, then a fiftieth of the way to 2: 1.02; to 3: 1.0596; to 1.06: 1.059608.
    assert [line["loss"] for line in lines] == [1.02, 1.05961]
    assert [line["samples"] for line in lines] == [16, 32]
    assert all(line["lr"] == 0.5 and line["per_second"] > 0 for line in lines)
