"""Optimiser and schedule of a training."""

import math
from typing import Any

import torch

from stages.pretrain.config import PretrainConfig
from stages.pretrain.method import Method


def make_optimizer(method: Method[Any], config: PretrainConfig) -> torch.optim.Optimizer:
    """AdamW over the trained parameters of a method, with weight decay where the method wants it."""
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for name, parameter in method.module.named_parameters():
        if parameter.requires_grad:
            groups[method.decays(name, parameter)].append(parameter)
    settings = [
        {"params": parameters, "weight_decay": config.weight_decay if decays else 0.0}
        for decays, parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=config.learning_rate, betas=config.betas)


def schedule(step: int, total: int, config: PretrainConfig) -> float:
    """Factor of the learning rate at a step: from 0 up to 1 during the warm-up, then down to 0 at the end."""
    warmup = round(total * config.warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    left = (total - step) / max(1, total - warmup)
    return left if config.decay == "linear" else (1 - math.cos(math.pi * left)) / 2
