"""The learning rate of every update."""

import math

from mechxl.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of the update that follows `step` updates: a linear warm-up, then the schedule.

    cosine falls to 0 along half a cosine (Loshchilov and Hutter 2017). wsd stays constant until the last
    `decay_share` of the steps and then falls linearly to 0 (Hu et al. 2024, Hägele et al. 2024).
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "wsd":
        return config.learning_rate * min(1.0, (config.steps - step) / (config.decay_share * config.steps))
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
