"""Weights and inputs that every machine can make from names and shapes, as the golden outputs were made.

Each tensor is drawn from numpy's PCG64, seeded by the CRC-32 of its name.
"""
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / 'data'


def tensor_for(name, shape, gain=1.0):
    """A normal tensor; the standard deviation is gain/sqrt(fan_in) for weights and 0.02 for vectors."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    values *= gain / math.sqrt(int(np.prod(shape[1:]))) if len(shape) >= 2 else 0.02
    return torch.from_numpy(values)


def input_for(name, shape, low=0.0, high=1.0):
    """Moving sinusoids plus noise between ``low`` and ``high``; the shape ends in (channels, height, width)."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    *lead, channels, height, width = shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    count = int(np.prod(lead)) if lead else 1
    wave = rng.uniform(0.02, 0.35, (6, 2))
    phase = rng.uniform(0, 2 * np.pi, (6, channels))
    velocity = rng.uniform(-2, 2, (6, 2))
    amplitude = rng.uniform(0.3, 1.0, (6, ))
    clip = np.zeros((count, channels, height, width))
    for frame in range(count):
        for j in range(6):
            for channel in range(channels):
                clip[frame, channel] += amplitude[j] * np.sin(
                    wave[j, 0] * (columns - velocity[j, 0] * frame) + wave[j, 1] * (rows - velocity[j, 1] * frame)
                    + phase[j, channel])
    clip += 0.15 * rng.standard_normal(clip.shape)
    clip = (clip - clip.min()) / (clip.max() - clip.min())
    return torch.from_numpy((low + (high - low) * clip).astype(np.float32).reshape(shape))


def _vimpnet(key, shape):
    if 'spynet' in key and key.endswith('mean'):
        return torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    if 'spynet' in key and key.endswith('std'):
        return torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    if '.norm' in key and key.endswith('weight'):
        return 1 + tensor_for(key, shape)
    if 'conv_offset.6' in key:
        return tensor_for(key, shape, 0.3) if len(shape) > 1 else tensor_for(key, shape)
    return tensor_for(key, shape, 0.85)


def _pvdnet(key, shape):
    if 'moduleSubpixel.0.moduleMain.6' in key:
        return tensor_for(key, shape, 18.0)
    if 'PVDNet.' not in key:
        return tensor_for(key, shape, 1.5)
    return tensor_for(key, shape, 0.5 if 'RBs' in key else 1.15)


def _cid(key, shape):
    if key.endswith('num_batches_tracked'):
        return torch.tensor(0)
    if key.endswith('running_var'):
        return 1 + tensor_for(key, shape).abs()
    if len(shape) == 1 and key.endswith('weight'):
        return (0.3 if 'bn3' in key else 1.0) * (1 + tensor_for(key, shape))
    return tensor_for(key, shape, 1.4 if key.startswith('encoder') else 0.8)


def _pmcn(key, shape):
    return 0.4714 + 0.1 * tensor_for(key, shape) if key.endswith('.std') else tensor_for(key, shape)


_FILL = dict(cid=_cid, pmcn=_pmcn, vimpnet=_vimpnet, pvdnet=_pvdnet, pvdnet_large=_pvdnet)


def official_state(method):
    """A state dict in the published layout of a method (``data/<method>_keys.json``), filled by name."""
    keys = json.loads((DATA / f'{method}_keys.json').read_text())
    return {key: _FILL[method](key, tuple(shape)) for key, shape in keys.items()}
