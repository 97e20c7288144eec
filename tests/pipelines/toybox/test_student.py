"""A student of four steps: its targets against diffusers' samplers and worlds of known answers."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler, StableDiffusionPipeline
from torch import nn

from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.toybox.scenes import training_scene
from pipelines.toybox.train import text_encoder as train_text
from pipelines.toybox.train import unet as train_unet
from pipelines.toybox.train.run import Run
from pipelines.toybox.train.student import distribution_matching as matching
from pipelines.toybox.train.student import few_steps, latent_consistency
from pipelines.toybox.train.student.distribution_matching import Fake, Matching, Rows
from pipelines.toybox.train.student.few_steps import Adapter, Levels, Teacher, make_student
from pipelines.toybox.vocabulary import FIRST_RELEASE

SHAPE = (12, 16, 16)


@pytest.fixture
def levels():
    return Levels()


class World(nn.Module):
    """The exact v of a world that has one picture: any noised latent is on its way from there."""

    def __init__(self, picture, bias=0.0):
        super().__init__()
        self.picture, self.bias = picture, nn.Parameter(torch.tensor(bias))
        self.levels = Levels()
        self.config = SimpleNamespace(block_out_channels=(64,))
        self.mid_block = nn.Conv2d(SHAPE[0], 64, 1)

    def forward(self, x, t, embeds, return_dict=True):
        signal, sigma = self.levels.at(t)
        self.mid_block(x)
        return ((signal * x - self.picture) / sigma + self.bias,)


def _world(bias=0.0):
    return World(torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(5)), bias)


def _noise(count, seed=0):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def _teacher(unet, guidance=3.0):
    return Teacher(unet, torch.zeros(1, 77, 8), guidance)


def test_solving_is_a_step_of_diffusers_ddim(levels):
    scheduler = DDIMScheduler(**train_unet.SCHEDULE, clip_sample=False)
    scheduler.set_timesteps(50)  # twenty training steps each
    x, v = _noise(1), _noise(1, 1)
    for t in (999, 619, 39):
        solved = levels.solve(x, v, torch.tensor([t]), torch.tensor([t - 20]))
        torch.testing.assert_close(solved, scheduler.step(v, t, x).prev_sample)


def test_points_lie_where_the_sampler_may_step_and_their_next_ones_a_solvers_step_later():
    t, until = latent_consistency.draw_points(4000)
    scheduler = LCMScheduler(**train_unet.SCHEDULE)
    scheduler.set_timesteps(scheduler.config.original_inference_steps)
    assert set(t.tolist()) == set(scheduler.timesteps.tolist())
    assert {(a, b) for a, b in zip(t.tolist(), until.tolist(), strict=True) if a - b != 20} == {
        (19, 0)
    }


def test_the_consistency_function_leaves_a_clean_picture_as_it_is(levels):
    x, v = _noise(3), 100 * _noise(3, 1)
    assert torch.equal(latent_consistency.consistency(levels, x, v, torch.zeros(3).long()), x)


def test_the_consistency_function_is_what_diffusers_sampler_makes_of_a_prediction(levels):
    x, v = _noise(1), _noise(1, 1)
    for t in few_steps.make_scheduler().timesteps:
        scheduler = few_steps.make_scheduler()
        expected = scheduler.step(v, t, x).denoised
        found = latent_consistency.consistency(levels, x, v, t[None])
        torch.testing.assert_close(found, expected)


def test_what_leads_to_the_ends_of_all_paths_is_a_fixed_point_of_the_distillation(levels):
    """In a world of one picture the exact network is its own student; any other one is not."""
    world, wrong = _world(), _world(0.2)
    t, until = latent_consistency.draw_points(40)
    keep = until > 0  # of the last step the answer is the point itself, noise included
    t, until = t[keep], until[keep]
    x = levels.add_noise(world.picture, _noise(len(t)), t)
    words = torch.zeros(len(t), 77, 8)

    def loss(student, average):
        return latent_consistency.distillation_loss(
            student, average, _teacher(world), levels, x, t, until, words
        ).item()

    exact = loss(world, world)
    assert exact < 1e-4
    assert loss(wrong, world) > 100 * exact
    assert loss(world, wrong) > 100 * exact


def test_the_distillation_teaches_the_student_alone(levels):
    student, average = _world(0.2), _world(0.1)
    t, until = torch.tensor([499, 259]), torch.tensor([479, 239])
    loss = latent_consistency.distillation_loss(
        student, average, _teacher(_world()), levels, _noise(2), t, until, torch.zeros(2, 77, 8)
    )
    loss.backward()
    assert student.bias.grad != 0
    assert average.bias.grad is None


def test_huber_is_a_square_near_zero_and_an_absolute_value_away_from_it():
    zero, c = torch.zeros(1), latent_consistency.HUBER
    assert latent_consistency.huber(zero, zero + 5.0).item() == pytest.approx(5.0 - c, rel=1e-5)
    assert latent_consistency.huber(zero, zero + c).item() == pytest.approx((math.sqrt(2) - 1) * c)


def test_the_teachers_guidance_leads_away_from_the_empty_words():
    class Words(nn.Module):
        def forward(self, x, t, embeds, return_dict):
            return (x + embeds.mean((1, 2))[:, None, None, None],)

    x, by_words = _noise(2), torch.full((2, 77, 8), 0.5)
    teacher = Teacher(Words(), torch.full((1, 77, 8), 0.25), 3.0)
    v = teacher.predict(x, torch.tensor([5, 9]), by_words)
    torch.testing.assert_close(v, x + 0.25 + 3.0 * 0.25)


def test_the_gradient_of_matching_is_the_difference_of_the_scores(levels):
    """Score of a noised x at (signal, sigma): (signal·x0 − x) / sigma²."""
    clean = _noise(2).requires_grad_()
    fake, real = _noise(2, 1), _noise(2, 2)
    t = torch.tensor([300, 700])
    matching.matching_loss(clean, fake, real).backward()
    signal, sigma = levels.at(t)
    x = levels.add_noise(clean.detach(), _noise(2, 3), t)
    scores = [(signal * picture - x) / sigma**2 for picture in (fake, real)]
    difference = scores[0] - scores[1]
    for row in range(2):
        factor = clean.grad[row] / difference[row]
        assert factor.std() / factor.mean() < 1e-3
        assert factor.mean() > 0
        size = (clean[row] - real[row]).abs().mean()
        torch.testing.assert_close(
            clean.grad[row], ((fake - real)[row] / size / clean.numel()).detach()
        )


def test_matching_stands_still_where_both_scores_agree_and_else_moves_towards_the_teachers():
    clean, real = _noise(1), _noise(1, 1)
    assert matching.score_gradient(clean, real, real).abs().max() == 0
    moved = clean - 0.5 * matching.score_gradient(clean, fake=clean, real=real)
    assert (moved - real).abs().mean() < (clean - real).abs().mean()


def test_sampling_a_perfect_student_paints_the_pictures_that_its_world_has(parts):
    _, latents, tokenizer, text_encoder = parts
    world = _world()

    class Pipe(nn.Module):
        def forward(self, x, t, embeds):
            v = world(x, t[None].expand(len(x)), embeds)[0]
            return type("Output", (), {"sample": v})

    with torch.no_grad():
        painted = few_steps.sample(Pipe(), latents.vae, tokenizer, text_encoder, ["a", "b"])
        y = latents.vae.decode(world.picture).sample.clamp(-1, 1)
    expected = ((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert painted.shape == (2, 128, 128, 3)
    assert np.abs(painted.astype(int) - expected).max() <= 1


class Scenes:
    """What of the shards the trainers need, without any renders."""

    def __init__(self, count):
        self.scenes = [training_scene(seed, FIRST_RELEASE) for seed in range(count)]

    def __len__(self):
        return len(self.scenes)


class KnownLatents(train_unet.Latents):
    """Latents that no untrained network paints, of scenes that are real."""

    def __init__(self, vae, count=4):
        super().__init__(Scenes(count), vae, 128)
        self.blocks = [(2 + 0.5 * _noise(2 * count, 7)).half()]

    def refresh(self):
        return len(self.blocks[0])


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A tiny random base with what it reads and paints by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_text, "VOCABULARY", 600)
        patch.setattr(train_text, "CORPUS", 100)
        patch.setattr(train_unet, "WIDTHS", (16, 32, 48))
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("student")
        train_text.make_tokenizer(folder / "tokenizer")
        tokenizer = train_text.CLIPTokenizer.from_pretrained(folder / "tokenizer")
        text_encoder = train_text.make_text_encoder(tokenizer).requires_grad_(False)
        vae = PatchAutoencoder()
        vae.set_principal_components(torch.rand(500, 192) * 2 - 1)
        base = train_unet.make_unet(text_encoder.config.hidden_size, vae.config.latent_channels)
    return base, KnownLatents(vae.requires_grad_(False)), tokenizer, text_encoder


@pytest.fixture
def sheets(monkeypatch):
    """What sample sheets would be painted by, instead of painting them."""
    asked = []
    for module in (latent_consistency, matching):
        monkeypatch.setattr(module, "paint_sheet", lambda *call: asked.append(call))
    return asked


def _predictions(unet, width, seed=3):
    x = _noise(2, seed)
    words = torch.randn(2, 77, width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return unet(x, torch.tensor([999, 259]), words).sample


def _change(student):
    """A student whose LoRA does something."""
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
    return student


def test_a_new_student_is_the_base_and_only_its_lora_learns(parts):
    base, *_, text_encoder = parts
    width = text_encoder.config.hidden_size
    student = make_student(base)
    torch.testing.assert_close(_predictions(student, width), _predictions(base, width))
    names = [name for name, each in student.named_parameters() if each.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert not hasattr(base, "peft_config"), "the base stays as it was"


def test_a_saved_student_is_a_lora_that_diffusers_puts_into_the_base(parts, tmp_path):
    base, latents, tokenizer, text_encoder = parts
    width = text_encoder.config.hidden_size
    student = _change(make_student(base, rank=4))
    Run(tmp_path / "run").save(ema=Adapter(student))
    few_steps.save(Run(tmp_path / "run"), base, tmp_path)
    again = few_steps.load(base, tmp_path).state_dict()
    wanted = Adapter(student).state_dict()
    torch.testing.assert_close(again, dict(wanted), atol=1e-3, rtol=1e-3)
    pipe = StableDiffusionPipeline(
        vae=latents.vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=copy.deepcopy(base),
        scheduler=few_steps.make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.load_lora_weights(tmp_path, weight_name=few_steps.WEIGHTS, local_files_only=True)
    pipe.fuse_lora(components=["unet"])
    pipe.unload_lora_weights()
    found, wanted = _predictions(pipe.unet, width), _predictions(student, width)
    away = (wanted - _predictions(base, width)).abs().mean()
    assert (found - wanted).abs().mean() < 0.01 * away


def test_saving_nothing_says_what_to_do(parts, tmp_path):
    with pytest.raises(FileNotFoundError, match="run the command 'student' first"):
        few_steps.save(Run(tmp_path / "run"), parts[0], tmp_path)


def _rows(parts, count, seed=0):
    _, latents, tokenizer, text_encoder = parts
    return Rows(latents, tokenizer, text_encoder, count, "cpu", np.random.default_rng(seed))


def test_rows_go_through_the_steps_of_the_sampler_and_begin_anew_after_the_last(parts):
    rows = _rows(parts, 1)
    steps = few_steps.make_scheduler(4).timesteps.tolist()
    words, clean = rows.embeds.clone(), torch.full((1, *SHAPE), 2.0)
    for number, t in enumerate(steps):
        assert rows.t.tolist() == [t]
        if number:
            assert torch.equal(rows.embeds, words)
            signal, sigma = Levels().at(torch.tensor([t]))
            noise = (rows.x - signal * clean) / sigma
            assert abs(noise.mean().item()) < 0.1
            assert noise.std().item() == pytest.approx(1, abs=0.1)
        rows.advance(clean)
    assert rows.t.tolist() == [999]
    assert abs(rows.x.mean().item()) < 0.1, "nothing of the finished picture is left"
    assert not torch.equal(rows.embeds, words)


def test_rows_are_at_different_steps_and_each_is_noised_for_its_own(parts):
    rows = _rows(parts, 4)
    assert rows.t.tolist() == few_steps.make_scheduler().timesteps.tolist()
    rows.advance(torch.full((4, *SHAPE), 3.0))
    signal, _ = Levels().at(rows.t)
    wanted = [*(3 * signal.flatten()[:3]).tolist(), 0.0]
    assert rows.x.mean((1, 2, 3)).tolist() == pytest.approx(wanted, abs=0.12)


def test_the_fake_network_predicts_as_its_unet_does_and_the_critic_sees_its_bottleneck(parts):
    base, *_, text_encoder = parts
    width = text_encoder.config.hidden_size
    fake = Fake(copy.deepcopy(base))
    x, t, words = _noise(2), torch.tensor([999, 259]), torch.zeros(2, 77, width)
    v, opinion = fake(x, t, words)
    with torch.no_grad():
        torch.testing.assert_close(v, base(x, t, words).sample)
    assert opinion.shape == (2,)
    opinion.sum().backward()
    assert fake.unet.conv_in.weight.grad.abs().max() > 0
    assert fake.unet.conv_out.weight.grad is None, "what lies behind the bottleneck"
    assert not fake.unet.mid_block._forward_hooks


@pytest.fixture
def lesson(parts):
    base, latents, tokenizer, text_encoder = parts
    nothing = few_steps.read(tokenizer, text_encoder, [""], "cpu")
    samples = train_unet.Samples(latents, tokenizer, text_encoder, "cpu", drop_caption=0)
    return Matching(
        make_student(base),
        Fake(copy.deepcopy(base)),
        Teacher(base, nothing, 3.0),
        _rows(parts, 2),
        samples,
        np.random.default_rng(0),
    )


def _weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _differ(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_each_lesson_moves_the_one_that_learns_and_nobody_else(lesson):
    everybody = (lesson.student, lesson.fake, lesson.teacher.unet)
    before = [_weights(each) for each in everybody]
    lesson.teach_fake(1e-3)
    after = [_weights(each) for each in everybody]
    assert [bool(_differ(*pair)) for pair in zip(before, after, strict=True)] == [
        False,
        True,
        False,
    ]
    assert any(name.startswith("critic") for name in _differ(before[1], after[1]))
    lesson.teach_generator(1e-3)
    last = [_weights(each) for each in everybody]
    assert [bool(_differ(*pair)) for pair in zip(after, last, strict=True)] == [True, False, False]
    assert all("lora_" in name for name in _differ(after[0], last[0]))


def _lesson_of_worlds(parts, student=0.0, fake=0.0):
    _, latents, tokenizer, text_encoder = parts
    samples = train_unet.Samples(latents, tokenizer, text_encoder, "cpu", drop_caption=0)
    width = text_encoder.config.hidden_size
    teacher = Teacher(_world(), torch.zeros(1, 77, width), 3.0)
    rng = np.random.default_rng(0)
    worlds = _world(student), Fake(_world(fake))
    return Matching(*worlds, teacher, _rows(parts, 4), samples, rng)


def test_the_fake_network_that_knows_what_is_painted_has_nothing_to_learn(parts):
    knows, errs = (_lesson_of_worlds(parts, fake=bias) for bias in (0.0, 0.5))
    assert knows.teach_fake(0.0)["fake"] < 1e-6
    assert errs.teach_fake(0.0)["fake"] == pytest.approx(0.25, rel=1e-3)


def test_the_critic_learns_to_tell_renders_from_what_is_painted(parts):
    torch.manual_seed(0)
    lesson = _lesson_of_worlds(parts)
    losses = [lesson.teach_fake(1e-2)["critic"] for _ in range(24)]
    by_chance = 2 * math.log(2)
    assert losses[0] == pytest.approx(by_chance, abs=0.1)
    assert np.mean(losses[-12:]) < 0.6 * by_chance
    t, words = torch.full((2,), 50), torch.zeros(2, 77, 8)
    pictures = torch.cat([lesson.samples.latents.batch([0]), _world().picture])
    with torch.no_grad():
        opinions = lesson.fake(Levels().add_noise(pictures, _noise(2), t), t, words)[1]
    assert opinions[0] > 0 > opinions[1]


def test_the_generator_is_led_to_what_the_teacher_paints(parts, monkeypatch):
    monkeypatch.setattr(matching, "PRAISE", 0)
    lesson = _lesson_of_worlds(parts, student=0.3, fake=0.3)
    for _ in range(10):
        lesson.teach_generator(0.01)
    assert 0.15 < lesson.student.bias.item() < 0.25


def test_the_generator_is_led_to_what_the_critic_takes_for_renders(parts, monkeypatch):
    class Bright(nn.Module):
        def forward(self, bottleneck):
            return bottleneck.mean((1, 2, 3))

    lesson = _lesson_of_worlds(parts)
    lesson.fake.critic = Bright()
    nn.init.ones_(lesson.fake.unet.mid_block.weight)
    monkeypatch.setattr(matching, "PRAISE", 1)
    for _ in range(5):  # both scores agree, so the critic alone decides
        lesson.teach_generator(0.01)
    assert lesson.student.bias.item() < -0.03, "a lower v paints a brighter picture"


@pytest.mark.parametrize("method", [latent_consistency, matching])
def test_a_second_call_goes_on_where_the_first_ended(method, parts, tmp_path, sheets):
    base, latents, tokenizer, text_encoder = parts
    seen = []
    for _ in range(2):
        run = Run(tmp_path)
        before = run.get("student")
        list(method.train(run, base, latents, tokenizer, text_encoder, 0.01, batch=2, lr=1e-4))
        seen.append((run.samples, Run(tmp_path).get("student"), before))
    assert 0 < seen[0][0] < seen[1][0]
    assert seen[0][2] is None
    first, second = seen[0][1], seen[1][1]
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert max((first[name] - second[name]).abs().max() for name in first) < 0.05
    assert len(sheets) == 2
    assert all(call[-1] is few_steps.sample and "lora" in str(call[1]) for call in sheets)


def test_matching_begins_with_another_students_weights(parts, tmp_path, sheets):
    base, latents, tokenizer, text_encoder = parts
    other = _change(make_student(base))
    Run(tmp_path / "consistency").save(ema=Adapter(other))
    begin = Run(tmp_path / "consistency")
    run = Run(tmp_path / "matching")
    list(
        matching.train(
            run, base, latents, tokenizer, text_encoder, 0.005, batch=1, lr=1e-6, begin=begin
        )
    )
    found, wanted = Run(run.folder).get("student"), begin.get("ema")
    assert max((found[name] - wanted[name]).abs().max() for name in wanted) < 1e-3
