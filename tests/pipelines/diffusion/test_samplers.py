"""Samplers against hand-written oracles, and what the two pickers allow.

The oracles follow the papers' formulas; nothing in them comes from diffusers. The denoiser is a
toy: any smooth function of latents and timestep will do, since both sides ask the same one.
"""

from __future__ import annotations

import inspect
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core.errors import BadRequest, NotFound, Unavailable
from pipelines.diffusion.denoise import denoise, noise_for
from pipelines.diffusion.samplers import (
    Samplers,
    check_fit,
    make_scheduler,
    step_arguments,
)

SAMPLERS = Samplers()
STARTER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
}
SD15 = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
CONFIGS = {"starter": STARTER, "sd15": SD15}
SHAPE = (4, 6, 6)
STEPS = 12


def toy(config):
    """x̂0 = tanh of a mix of neighbours that drifts with the timestep, told as ε or v."""
    alphas = alpha_bars(config)

    def predict(x, timestep):
        t = float(timestep)
        a = alpha_at(alphas, t)
        x0 = torch.tanh(0.8 * x + 0.3 * x.roll(1, -1) + 0.1 * np.sin(t / 300))
        eps = (x - a**0.5 * x0) / (1 - a) ** 0.5
        return eps if config["prediction_type"] == "epsilon" else a**0.5 * eps - (1 - a) ** 0.5 * x0

    return predict


def sample_with(config, sampler, schedule="Uniform", steps=STEPS, seeds=(5,), eta=None, **further):
    """Latents at the end, by the picker's entry."""
    sampler = SAMPLERS.get(sampler)
    scheduler = make_scheduler(config, sampler, SAMPLERS.schedule(schedule), seeds)
    scheduler.set_timesteps(steps)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    arguments = step_arguments(scheduler, sampler, generators, eta) | further
    *_, last = denoise(toy(config), scheduler, noise_for(SHAPE, generators), arguments)
    return last.latents


# --- the oracles -------------------------------------------------------------------------------


def alpha_bars(config) -> np.ndarray:
    start, end, n = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    if config["beta_schedule"] == "linear":
        betas = np.linspace(start, end, n)
    else:
        betas = np.linspace(start**0.5, end**0.5, n) ** 2
    return np.cumprod(1 - betas)


def alpha_at(alphas, t):
    """ā at a fractional timestep: σ is interpolated linearly, as k-diffusion does."""
    sigmas = ((1 - alphas) / alphas) ** 0.5
    return 1 / (1 + np.interp(t, np.arange(len(sigmas)), sigmas) ** 2)


def eps_of(config, predict, x, t, a):
    """ε̂ of a unit-variance input, whatever the model predicts."""
    prediction = predict(x, torch.tensor(float(t)))
    if config["prediction_type"] == "epsilon":
        return prediction
    return a**0.5 * prediction + (1 - a) ** 0.5 * x


def start(seed=5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SHAPE, generator=generator)[None].double()
    return x, lambda: torch.randn(1, *SHAPE, generator=generator).double()


def ancestors(config, steps):
    """Whole timesteps from high to low with ā here and ā at the next, 1 or ā_0 at the end."""
    alphas = alpha_bars(config)
    times = np.arange(steps)[::-1] * (1000 // steps) + config.get("steps_offset", 0)
    last = 1.0 if config.get("set_alpha_to_one", True) else alphas[0]
    return [
        (t, alphas[t], alphas[t - 1000 // steps] if t >= 1000 // steps else last) for t in times
    ]


def ddim_oracle(config, eta, steps=STEPS):
    x, noise = start()
    predict = toy(config)
    for t, a, a_next in ancestors(config, steps):
        eps = eps_of(config, predict, x, t, a)
        x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
        sigma = eta * ((1 - a_next) / (1 - a)) ** 0.5 * (1 - a / a_next) ** 0.5
        x = a_next**0.5 * x0 + (1 - a_next - sigma**2) ** 0.5 * eps
        if eta > 0:
            x = x + sigma * noise()
    return x


def ddpm_oracle(config, steps=STEPS):
    x, noise = start()
    predict = toy(config)
    for t, a, _ in (path := ancestors(config, steps)):
        last = t == path[-1][0]
        a_next = 1.0 if last else alpha_bars(config)[t - 1000 // steps]
        alpha = a / a_next
        beta = 1 - alpha
        eps = eps_of(config, predict, x, t, a)
        x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
        x = a_next**0.5 * beta / (1 - a) * x0 + alpha**0.5 * (1 - a_next) / (1 - a) * x
        if not last:
            x = x + (beta * (1 - a_next) / (1 - a)) ** 0.5 * noise()
    return x


def sigma_path(config, steps, schedule="Uniform"):
    """(σ, t) from high to low, then (0, None)."""
    sigmas_all = ((1 - (a := alpha_bars(config))) / a) ** 0.5
    times = np.linspace(999, 0, steps)
    sigmas = np.interp(times, np.arange(1000), sigmas_all)
    if schedule == "Karras":
        ramp = np.linspace(0, 1, steps)
        low, high = sigmas[-1] ** (1 / 7), sigmas[0] ** (1 / 7)
        sigmas = (high + ramp * (low - high)) ** 7
        times = np.interp(np.log(sigmas), np.log(sigmas_all), np.arange(1000))
    return [*zip(sigmas, times, strict=True), (0.0, None)]


def derivative(config, predict, x, sigma, t):
    """d = (x − denoised)/σ, with x in σ space; for ε and v alike that is ε̂."""
    return eps_of(config, predict, x / (sigma**2 + 1) ** 0.5, t, 1 / (1 + sigma**2))


def euler_oracle(config, steps=STEPS, schedule="Uniform"):
    path = sigma_path(config, steps, schedule)
    x, _ = start()
    x, predict = x * path[0][0], toy(config)
    for (sigma, t), (sigma_next, _) in pairwise(path):
        x = x + derivative(config, predict, x, sigma, t) * (sigma_next - sigma)
    return x


def euler_a_oracle(config, steps=STEPS):
    path = sigma_path(config, steps)
    x, noise = start()
    x, predict = x * path[0][0], toy(config)
    for (sigma, t), (sigma_next, _) in pairwise(path):
        up = min(sigma_next, (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
        down = (sigma_next**2 - up**2) ** 0.5
        x = x + derivative(config, predict, x, sigma, t) * (down - sigma)
        if sigma_next > 0:
            x = x + up * noise()
    return x


def lms_oracle(config, order, steps=STEPS, schedule="Uniform"):
    path = sigma_path(config, steps, schedule)
    sigmas = [sigma for sigma, _ in path]
    x, _ = start()
    x, predict, past = x * sigmas[0], toy(config), []
    for i, (sigma, t) in enumerate(path[:-1]):
        past = [derivative(config, predict, x, sigma, t), *past][:order]  # newest first
        nodes = sigmas[i - len(past) + 1 : i + 1][::-1]
        for j, d in enumerate(past):
            basis = np.poly1d([1.0])
            for k, node in enumerate(nodes):
                if k != j:
                    basis *= np.poly1d([1, -node]) / (nodes[j] - node)
            integral = basis.integ()
            x = x + (integral(sigmas[i + 1]) - integral(sigmas[i])) * d
    return x


def assert_same(ours, oracle):
    assert torch.isfinite(oracle).all()
    assert (ours.double() - oracle).abs().max() <= 1e-4


@pytest.fixture(params=list(CONFIGS))
def config(request):
    return CONFIGS[request.param]


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_the_papers(config, eta):
    assert_same(sample_with(config, "DDIM", eta=eta), ddim_oracle(config, eta))


def test_ddpm_is_the_papers(config):
    assert_same(sample_with(config, "DDPM"), ddpm_oracle(config))


def test_ddim_with_eta_1_is_ddpm(config):
    config = {**config, "set_alpha_to_one": True, "steps_offset": 0}
    assert_same(sample_with(config, "DDIM", eta=1.0), sample_with(config, "DDPM").double())


@pytest.mark.parametrize("schedule", ["Uniform", "Karras"])
def test_euler_is_k_diffusions(config, schedule):
    assert_same(sample_with(config, "Euler", schedule), euler_oracle(config, schedule=schedule))


def test_euler_ancestral_is_k_diffusions(config):
    assert_same(sample_with(config, "Euler a"), euler_a_oracle(config))


@pytest.mark.parametrize("schedule", ["Uniform", "Karras"])
def test_lms_is_the_linear_multistep_method_of_order_4(config, schedule):
    assert_same(sample_with(config, "LMS", schedule), lms_oracle(config, 4, schedule=schedule))


def test_lms_of_order_1_is_euler(config):
    assert_same(sample_with(config, "LMS", order=1), sample_with(config, "Euler").double())
    assert not torch.allclose(sample_with(config, "LMS"), sample_with(config, "Euler"))


# --- all of them -------------------------------------------------------------------------------

COMBINATIONS = [(s.name, schedule) for s in SAMPLERS for schedule in s.schedules]
TRAININGS = {
    "v": STARTER,
    "epsilon": SD15,
    "zero terminal SNR": {**STARTER, "rescale_betas_zero_snr": True},
}


def combinations_for(training: str) -> list[tuple[str, str, str]]:
    """The combinations for a model of a training, with the training."""
    zero_snr = TRAININGS[training].get("rescale_betas_zero_snr")
    return [(*each, training) for each in COMBINATIONS if not (zero_snr and each[1] == "Beta")]


@pytest.mark.parametrize("sampler", [name for name, schedule in COMBINATIONS if schedule == "Beta"])
def test_beta_is_refused_for_a_zero_terminal_snr(sampler):
    config = TRAININGS["zero terminal SNR"]
    with pytest.raises(BadRequest, match="cannot follow the schedule Beta"):
        make_scheduler(config, SAMPLERS.get(sampler), SAMPLERS.schedule("Beta"))


@pytest.mark.parametrize(
    ("sampler", "schedule", "training"),
    [
        *combinations_for("v"),
        *(
            pytest.param(*each, marks=pytest.mark.deep)
            for training in ("epsilon", "zero terminal SNR")
            for each in combinations_for(training)
        ),
    ],
)
def test_every_combination_ends_near_the_picture(sampler, schedule, training):
    """A denoiser that knows the picture must be led there by every sampler, finite all the way."""
    config = TRAININGS[training]
    picture = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    sampler = SAMPLERS.get(sampler)
    scheduler = make_scheduler(config, sampler, SAMPLERS.schedule(schedule), [3])
    scheduler.set_timesteps(20)
    alphas = scheduler.alphas_cumprod.double().numpy()

    def knows_the_picture(x, timestep):
        a = alpha_at(np.maximum(alphas, 2**-24), float(timestep))
        eps = (x - a**0.5 * picture) / (1 - a) ** 0.5
        if config["prediction_type"] == "epsilon":
            return eps
        return a**0.5 * eps - (1 - a) ** 0.5 * picture

    generator = [torch.Generator().manual_seed(3)]
    steps = list(
        denoise(
            knows_the_picture,
            scheduler,
            noise_for(SHAPE, generator),
            step_arguments(scheduler, sampler, generator),
        )
    )
    assert all(torch.isfinite(step.latents).all() for step in steps)
    assert (steps[-1].latents - picture).abs().max() < 0.35
    assert (steps[-1].denoised - picture).abs().max() < 0.05


STOCHASTIC = [sampler.name for sampler in SAMPLERS if sampler.stochastic]


@pytest.mark.parametrize("sampler", [*STOCHASTIC, "DDIM"])
def test_a_seed_gives_the_same_latents_alone_and_in_a_batch(sampler):
    eta = 1.0 if sampler == "DDIM" else None
    batch = sample_with(STARTER, sampler, seeds=(5, 6), eta=eta)
    for latents, seed in zip(batch, (5, 6), strict=True):
        alone = sample_with(STARTER, sampler, seeds=(seed,), eta=eta)
        assert torch.allclose(latents, alone[0], atol=1e-5)


@pytest.mark.parametrize("sampler", list(SAMPLERS), ids=lambda sampler: sampler.name)
def test_stochastic_says_whether_fresh_noise_is_added(sampler):
    """Two generators that agree on the first latents only must part exactly if it is stochastic."""
    scheduler = make_scheduler(STARTER, sampler, SAMPLERS.schedule("Uniform"), [1])
    ends = []
    for seed in (1, 2):
        scheduler = make_scheduler(STARTER, sampler, SAMPLERS.schedule("Uniform"), [seed])
        scheduler.set_timesteps(STEPS)
        arguments = step_arguments(scheduler, sampler, [torch.Generator().manual_seed(seed)])
        *_, last = denoise(toy(STARTER), scheduler, torch.ones(1, *SHAPE), arguments)
        ends.append(last.latents)
    assert torch.equal(*ends) is not sampler.stochastic


@pytest.mark.parametrize("sampler", list(SAMPLERS), ids=lambda sampler: sampler.name)
def test_the_presets_list_exactly_the_schedules_that_the_class_follows(sampler):
    takes = inspect.signature(sampler.scheduler_class().__init__).parameters
    follows = [s.name for s in SAMPLERS.schedules.values() if all(o in takes for o in s.options)]
    if sampler.name in (
        "LCM",
        "TCD",
    ):  # they keep the timesteps of their distillation, whatever the spacing
        follows.remove("SGM Uniform")
    assert list(sampler.schedules) == follows
    assert {*sampler.options} <= {*takes}
    assert {"en", "zh"} == {*sampler.description}


def test_every_sampler_that_peers_offer_and_diffusers_has_is_listed():
    expected = (
        "DDIM, DDPM, PNDM, LMS, Euler, Euler a, Heun, DPM2, DPM2 a, DPM++ 2M, DPM++ 2M SDE, "
        "DPM++ SDE, DPM++ 3M SDE, UniPC, DEIS, LCM, TCD, SA-Solver"
    )
    assert {*expected.split(", ")} <= {sampler.name for sampler in SAMPLERS}


def test_a_dense_schedule_begins_at_its_first_step():
    """150 Karras steps round the first timesteps to the same whole number."""
    latents = sample_with(STARTER, "DPM++ 2M", "Karras", steps=150)
    assert torch.isfinite(latents).all()
    assert (latents - sample_with(STARTER, "DPM++ 2M", "Karras", steps=140)).abs().max() < 0.1


def test_unknown_names_offer_the_close_ones():
    with pytest.raises(NotFound, match=r"no sampler called Eula\. Did you mean one of: Euler"):
        SAMPLERS.get("Eula")
    with pytest.raises(NotFound, match=r"no schedule called Caras\. .* Karras"):
        SAMPLERS.schedule("Caras")
    assert SAMPLERS.get("dpm++ 2m sde").name == "DPM++ 2M SDE"


def test_a_combination_without_sense_is_refused_with_those_that_have(config):
    ddim, karras = SAMPLERS.get("DDIM"), SAMPLERS.schedule("Karras")
    sentence = r"DDIM cannot follow the schedule Karras; schedules that fit: Uniform, SGM Uniform\."
    with pytest.raises(BadRequest, match=sentence):
        check_fit(SAMPLERS, ddim, karras, 20, "sd1", None)


def test_samplers_for_distilled_models_refuse_many_steps():
    with pytest.raises(BadRequest, match="LCM takes at most 50 steps, not 51"):
        check_fit(SAMPLERS, SAMPLERS.get("LCM"), SAMPLERS.schedule("Uniform"), 51, "sd1", None)


FLUX = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}


def test_flow_matching_models_keep_their_own_scheduler():
    uniform, karras = SAMPLERS.schedule("Uniform"), SAMPLERS.schedule("Karras")
    euler = SAMPLERS.get("Euler")
    scheduler = make_scheduler(FLUX, euler, karras)
    assert type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
    assert scheduler.config.shift == 3.0
    assert scheduler.config.use_karras_sigmas
    with pytest.raises(BadRequest, match="DDPM does not work with flow-matching models"):
        make_scheduler(FLUX, SAMPLERS.get("DDPM"), uniform)
    with pytest.raises(BadRequest, match=r"fit: Uniform, Karras, Exponential, Beta\."):
        make_scheduler(FLUX, euler, SAMPLERS.schedule("SGM Uniform"))
    assert SAMPLERS.list_fitting("flux", "Euler") == [euler]
    with pytest.raises(BadRequest, match=r"DDPM .* of the family flux; they take: Euler\."):
        check_fit(SAMPLERS, SAMPLERS.get("DDPM"), uniform, 20, "flux", "Euler")


OWN = """
from diffusers import EulerDiscreteScheduler

class SleepyEulerScheduler(EulerDiscreteScheduler):
    '''Euler, but relaxed.

    At length.
    '''
    name = "Sleepy Euler"
"""


@pytest.fixture
def home(tmp_path) -> Path:
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "sleepy.py").write_text(OWN)
    return tmp_path


def test_an_own_sampler_is_listed_and_paints(home):
    samplers = Samplers(home)
    own = samplers.get("sleepy euler")
    assert (own.name, own.description) == ("Sleepy Euler", {"en": "Euler, but relaxed."})
    assert samplers.check_own() == []
    scheduler = make_scheduler(STARTER, own, samplers.schedule("Karras"))
    assert type(scheduler).__name__ == "SleepyEulerScheduler"
    assert scheduler.config.use_karras_sigmas


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:", "invalid syntax"),
        ("x = 1", "it defines no scheduler class"),
        (OWN.replace("Sleepy Euler", "Euler"), "there is already a sampler called Euler"),
        (
            OWN.replace("EulerDiscrete", "Nothing").replace("Sleepy Euler", "Other"),
            "its own code raises ImportError: cannot import name 'NothingSched",
        ),
        ("raise OSError('no')\nclass A(Scheduler): pass", "its own code raises OSError: no"),
        (
            "import sys\nsys.exit('bye')\nclass A(Scheduler): pass",
            "its own code raises SystemExit: bye",
        ),
        ("class Scheduler: pass\nclass A(Scheduler): pass", "A is not a SchedulerMixin"),
    ],
)
def test_a_broken_own_sampler_is_reported_and_skipped(home, source, reason):
    (home / "samplers" / "broken.py").write_text(source)
    samplers = Samplers(home)
    listing = iter(samplers)  # by a page that is being opened meanwhile
    next(listing)
    (broken,) = samplers.check_own()
    assert len(list(listing)) >= len(list(samplers)) - 1
    assert samplers.check_own() == samplers.broken == [broken]
    assert broken.file == "broken.py"
    assert str(broken.reason).startswith(reason)
    assert [s.name for s in samplers if s.source] == ["Sleepy Euler"]


def test_an_own_sampler_that_fails_when_used_says_why(home):
    (home / "samplers" / "sleepy.py").write_text(OWN + "\nraise ValueError('too late')")
    with pytest.raises(Unavailable, match=r"Sleepy Euler in sleepy\.py .* ValueError: too late"):
        Samplers(home).get("Sleepy Euler").scheduler_class()
