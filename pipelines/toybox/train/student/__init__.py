"""A student of the starter's base: four steps a picture, without guidance.

Two ways to teach it, :mod:`latent_consistency` and :mod:`distribution_matching`. Both train a LoRA
the base's UNet, which :mod:`few_steps` makes, saves and samples.
"""
