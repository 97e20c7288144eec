"""Samplers and schedules: what the two pickers show and the diffusers scheduler behind them.

A sampler says how the noise is taken away, a schedule where the steps lie between noise and
picture; presets/samplers.yaml lists both and which of them go together. The owner's own samplers
are Python files with a diffusers scheduler class in ``<home>/samplers/``.

Listing needs neither torch nor diffusers: the page does it before they are loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.files import read_yaml
from pipelines.core.matching import closest, find_name, same_name
from pipelines.core.messages import Message
from pipelines.diffusion import user_samplers
from pipelines.diffusion.user_samplers import BrokenSampler

if TYPE_CHECKING:
    import torch

PRESETS = Path(__file__).parents[2] / "presets" / "samplers.yaml"

UNET_FAMILIES = ("sd1", "sd2", "sdxl")
"""Families whose denoising loop is Atelier's own, so that any diffusion sampler fits."""

# What a model's scheduler config says about its training. The rest of it says how somebody once
# chose to sample, which is what the two pickers decide here.
_TRAINED_WITH = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
    "steps_offset",
    "set_alpha_to_one",
    "clip_sample",
    "clip_sample_range",
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Where the steps lie.

    Attributes:
        options: arguments of the scheduler's constructor.
        description: what it is good for, by language ("en", "zh").
    """

    name: str
    options: Mapping[str, Any]
    description: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sampler:
    """How the noise is taken away; the fields are explained in presets/samplers.yaml.

    Attributes:
        class_name: a scheduler class of diffusers, or of the file ``source``.
        eta: the default of the setting eta, None where it does not apply.
        flow: the class for flow-matching models and the schedules it follows, or None.
        source: the owner's file, or None.
    """

    name: str
    class_name: str
    schedules: tuple[str, ...]
    description: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    step_options: Mapping[str, Any] = field(default_factory=dict)
    spacing: str = "linspace"
    stochastic: bool = False
    eta: float | None = None
    max_steps: int | None = None
    flow: tuple[str, tuple[str, ...]] | None = None
    source: Path | None = None

    def scheduler_class(self) -> type:
        """Import the class.

        Raises:
            Unavailable: the owner's file cannot be loaded.
        """
        if self.source is not None:
            return user_samplers.load_class(self.name, self.source, self.class_name)
        import diffusers

        return getattr(diffusers, self.class_name)


class Samplers:
    """All samplers and schedules: those of the presets, then the owner's own.

    Attributes:
        broken: files of the owner that are left out, with the reason.
    """

    def __init__(self, home: Path | None = None) -> None:
        listed = read_yaml(PRESETS)
        self.schedules = {entry["name"]: Schedule(**entry) for entry in listed["schedules"]}
        self._samplers = {entry["name"]: _from_preset(entry) for entry in listed["samplers"]}
        self.broken: list[BrokenSampler] = []
        if home is not None:
            self._add_own(home / "samplers")

    def _add_own(self, folder: Path) -> None:
        found, self.broken = user_samplers.find(folder)
        for own in found:
            if (known := same_name(own.name, self._samplers)) is not None:
                reason = Message("there is already a sampler called {name}", name=known)
                self.broken.append(BrokenSampler(own.source.name, reason))
                continue
            self._samplers[own.name] = Sampler(
                name=own.name,
                class_name=own.class_name,
                # Which of them its class follows is only known once it is imported.
                schedules=tuple(self.schedules),
                description={"en": own.description},
                source=own.source,
            )

    def check_own(self) -> list[BrokenSampler]:
        """Import every file of the owner, leave the broken ones out and return all broken ones.

        Imports diffusers, so it is for a moment when nobody waits.
        """
        kept, broken = {}, list(self.broken)
        for name, sampler in self._samplers.items():
            reason = None
            if sampler.source is not None:
                reason = user_samplers.why_broken(name, sampler.source, sampler.class_name)
            if reason is None:
                kept[name] = sampler
            else:
                broken.append(BrokenSampler(sampler.source.name, reason))
        # Not changed in place: a page may be listing them.
        self._samplers, self.broken = kept, list(dict.fromkeys(broken))
        return self.broken

    def __iter__(self) -> Iterator[Sampler]:
        return iter(self._samplers.values())

    def get(self, name: str) -> Sampler:
        """The sampler called ``name``; capitals do not matter.

        Raises:
            NotFound: names those that come close.
        """
        sampler = _look_up(self._samplers, name)
        if sampler is None:
            raise NotFound(
                "There is no sampler called {name}. Did you mean one of: {close}?",
                name=name,
                close=closest(name, self._samplers),
            )
        return sampler

    def schedule(self, name: str) -> Schedule:
        """The schedule called ``name``; capitals do not matter.

        Raises:
            NotFound: names those that come close.
        """
        schedule = _look_up(self.schedules, name)
        if schedule is None:
            raise NotFound(
                "There is no schedule called {name}. Did you mean one of: {close}?",
                name=name,
                close=closest(name, self.schedules),
            )
        return schedule

    def list_fitting(self, family: str, own: str | None = None) -> list[Sampler]:
        """What the picker lists for models of ``family`` whose default sampler is ``own``.

        UNet families take every sampler. The pipelines of the others compute the steps for their
        own scheduler, so they keep it, and a family without a picker entry for it lists nothing.
        """
        if family in UNET_FAMILIES:
            return list(self)
        sampler = _look_up(self._samplers, own) if own else None
        return [sampler] if sampler else []

    def schedules_of(self, sampler: Sampler, family: str) -> list[str]:
        """The schedules that fit ``sampler`` on models of ``family``."""
        if family in UNET_FAMILIES:
            return list(sampler.schedules)
        return list(sampler.flow[1]) if sampler.flow else ["Uniform"]


@cache
def samplers_in(home: Path | None) -> Samplers:
    """The samplers of one home folder, read once: new files are listed after a restart."""
    return Samplers(home)


def check_fit(
    samplers: Samplers,
    sampler: Sampler,
    schedule: Schedule,
    steps: int,
    family: str,
    own: str | None,
) -> None:
    """Refuse a sampler, schedule and number of steps that do not go together.

    Raises:
        BadRequest: says which ones would.
    """
    fitting = samplers.list_fitting(family, own)
    if sampler not in fitting:
        raise BadRequest(
            "{sampler} does not work with models of the family {family}; they take: {fitting}.",
            sampler=sampler.name,
            family=family,
            fitting=", ".join(s.name for s in fitting) or "–",
        )
    schedules = samplers.schedules_of(sampler, family)
    if schedule.name not in schedules:
        raise _no_fit(sampler.name, schedule.name, schedules)
    if sampler.max_steps is not None and steps > sampler.max_steps:
        raise BadRequest(
            "{sampler} takes at most {limit} steps, not {steps}: it is made for distilled models "
            "that paint in a few steps.",
            sampler=sampler.name,
            limit=sampler.max_steps,
            steps=steps,
        )


def make_scheduler(
    config: Mapping[str, Any], sampler: Sampler, schedule: Schedule, seeds: Sequence[int] = ()
):
    """Build the diffusers scheduler for one run; schedulers keep state, so never share one.

    Args:
        config: the config of the scheduler that came with the model.
        sampler: as picked.
        schedule: as picked.
        seeds: one for each picture of the batch, for samplers with a noise source of their own
            (DPM++ SDE's Brownian tree), so that a picture is the same alone and in a batch.

    Raises:
        BadRequest: sampler, schedule and model do not go together.
    """
    if is_flow_matching(config):
        return _make_flow_scheduler(config, sampler, schedule)
    scheduler_class = sampler.scheduler_class()
    takes = inspect.signature(scheduler_class.__init__).parameters
    if any(option not in takes for option in schedule.options):  # an own sampler's class
        raise _no_fit(sampler.name, schedule.name, ["Uniform"])
    if config.get("rescale_betas_zero_snr") and "use_beta_sigmas" in schedule.options:
        # It lays the steps evenly in σ, nearly all of them near this model's first, σ = 4096.
        fitting = [name for name in sampler.schedules if name != schedule.name]
        raise _no_fit(sampler.name, schedule.name, fitting)
    trained_with = {key: config[key] for key in _TRAINED_WITH if config.get(key) is not None}
    # Latents are not confined to [-1, 1] as pixels are, which is what clipping is for; several
    # classes clip unless told otherwise.
    trained_with.setdefault("clip_sample", False)
    if trained_with.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in takes:
        trained_with["trained_betas"] = _zero_terminal_snr_betas(config)
    options = {"timestep_spacing": sampler.spacing, "noise_sampler_seed": list(seeds) or None}
    options = {**trained_with, **options, **sampler.options, **schedule.options}
    return scheduler_class(**{key: value for key, value in options.items() if key in takes})


def step_arguments(
    scheduler, sampler: Sampler, generators: list[torch.Generator], eta: float | None = None
) -> dict[str, Any]:
    """What to hand to ``scheduler.step`` besides prediction, timestep and sample.

    Args:
        generators: one for each picture of the batch.
        eta: for those that take it; None is the sampler's default.
    """
    takes = inspect.signature(scheduler.step).parameters
    arguments = {
        "generator": generators,
        "eta": sampler.eta if eta is None else eta,
        **sampler.step_options,
    }
    return {key: value for key, value in arguments.items() if key in takes and value is not None}


def is_flow_matching(config: Mapping[str, Any]) -> bool:
    """Whether a model with this scheduler config follows straight paths (SD 3, Flux, Sana …)."""
    return (
        str(config.get("_class_name", "")).startswith("FlowMatch")
        or bool(config.get("use_flow_sigmas"))
        or config.get("prediction_type") == "flow_prediction"
    )


def _make_flow_scheduler(config: Mapping[str, Any], sampler: Sampler, schedule: Schedule):
    import diffusers

    own = config.get("_class_name")
    if sampler.flow is None or own != sampler.flow[0]:
        raise BadRequest(
            "{sampler} does not work with flow-matching models; they keep their own scheduler, "
            "{own}.",
            sampler=sampler.name,
            own=own,
        )
    class_name, schedules = sampler.flow
    if schedule.name not in schedules:
        raise _no_fit(sampler.name, schedule.name, schedules)
    return getattr(diffusers, class_name).from_config(dict(config), **schedule.options)


def _no_fit(sampler: str, schedule: str, schedules: Iterable[str]) -> BadRequest:
    return BadRequest(
        "{sampler} cannot follow the schedule {schedule}; schedules that fit: {schedules}.",
        sampler=sampler,
        schedule=schedule,
        schedules=", ".join(schedules),
    )


def _zero_terminal_snr_betas(config: Mapping[str, Any]) -> list[float]:
    """Betas rescaled to zero terminal SNR, for classes that cannot do so themselves.

    The last ā stays a hair above zero (2⁻²⁴, as in diffusers' Euler), so that σ is finite.
    """
    import torch
    from diffusers import DDIMScheduler

    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    rescaled = DDIMScheduler(
        rescale_betas_zero_snr=True, **{key: config[key] for key in keys if key in config}
    )
    alphas_cumprod = rescaled.alphas_cumprod.double()
    alphas_cumprod[-1] = 2**-24
    previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
    return (1 - alphas_cumprod / previous).tolist()


def _look_up(known: Mapping[str, Any], name: str) -> Any | None:
    key = find_name(name, known)
    return None if key is None else known[key]


def _from_preset(entry: dict[str, Any]) -> Sampler:
    flow = entry.get("flow")
    return Sampler(
        name=entry["name"],
        class_name=entry["class"],
        schedules=tuple(entry["schedules"]),
        description=entry["description"],
        options=entry.get("options", {}),
        step_options=entry.get("step", {}),
        spacing=entry.get("uniform", "linspace"),
        stochastic=entry.get("stochastic", False),
        eta=entry.get("eta"),
        max_steps=entry.get("max_steps"),
        flow=(flow["class"], tuple(flow["schedules"])) if flow else None,
    )
