"""Weights in: published layouts recognised and renamed, keys reported, nothing unpickled."""
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mmweather.errors import UserError

#: What wrappers put in front of every key: DistributedDataParallel and a restorer's attribute.
_WRAPPERS = ('module.', 'generator.')
#: Where files that hold more than weights keep them.
_CONTAINERS = ('state_dict', 'model', 'params_ema', 'params')


@dataclass(frozen=True)
class OfficialLayout:
    """How a method's published checkpoint names its tensors.

    Args:
        name (str): What to call the layout in a report.
        signature (str): A key that only this layout has.
        renames (tuple[tuple]): Pairs (pattern, replacement) for :func:`re.sub`, applied in order to every key.
        ignored (tuple[str]): Patterns of keys that hold no weight of the network.
    """

    name: str
    signature: str
    renames: tuple
    ignored: tuple = ()

    def matches(self, state):
        """Whether ``state`` is in this layout."""
        return self.signature in state

    def convert(self, state):
        """The state dict under our names, without the ignored keys."""
        converted = {}
        for key, value in state.items():
            if any(re.search(pattern, key) for pattern in self.ignored):
                continue
            for pattern, replacement in self.renames:
                key = re.sub(pattern, replacement, key)
            converted[key] = value
        return converted


@dataclass
class KeyReport:
    """What became of a checkpoint's keys.

    Args:
        layout (str): The layout that was recognised.
        matched (list[str]): Keys that were loaded, under the network's names.
        missing (list[str]): Keys of the network that the checkpoint lacks.
        unexpected (list[str]): Keys of the checkpoint that the network lacks.
        mismatched (list[str]): Keys whose shapes differ, each with both shapes.
    """

    layout: str
    matched: list = field(default_factory=list)
    missing: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    mismatched: list = field(default_factory=list)

    @property
    def complete(self):
        """bool: Whether every key of both sides found its partner."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self):
        lines = [f'layout: {self.layout}; matched {len(self.matched)}, missing {len(self.missing)}, '
                 f'unexpected {len(self.unexpected)}, mismatched {len(self.mismatched)}']
        for kind in ('missing', 'unexpected', 'mismatched'):
            keys = getattr(self, kind)
            lines += [f'  {kind}: {key}' for key in keys[:10]]
            if len(keys) > 10:
                lines.append(f'  {kind}: and {len(keys) - 10} more')
        return '\n'.join(lines)


def read_state_dict(path):
    """Reads the tensors of a checkpoint file without unpickling anything else.

    Args:
        path (str | Path): A ``.safetensors`` file, or what ``torch.save`` wrote.

    Returns:
        dict[str, Tensor]: The weights, unwrapped from the containers and prefixes of the usual frameworks.

    Raises:
        UserError: If the file is missing, damaged, holds objects that would have to be unpickled, or no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'{path}: there is no such checkpoint file; check the path')
    if path.suffix == '.safetensors':
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        try:
            content = load_file(path)
        except SafetensorError as error:
            raise UserError(f'{path}: not a readable safetensors file ({error}); copy or download it again') from error
    else:
        from mmweather.weights_only import weights_only
        with weights_only(path):
            content = torch.load(path, map_location='cpu')
    return unwrap_state_dict(content, path)


def unwrap_state_dict(content, source='the checkpoint'):
    """Takes weights out of the containers and prefixes of the usual frameworks.

    Args:
        content (dict): A state dict, or a checkpoint that holds one.
        source (str | Path): What to call it in an error. Defaults to 'the checkpoint'.

    Returns:
        dict[str, Tensor]: The weights. If any key carries the prefix ``generator.``, only those (without it): the
        rest belongs to losses and data preprocessing.

    Raises:
        UserError: If there are no tensors in it.
    """
    for container in _CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
            break
    state = {key: value for key, value in content.items() if torch.is_tensor(value)} if isinstance(
        content, dict) else {}
    if not state:
        raise UserError(f'{source}: holds no weights; give the file that the training wrote')
    for prefix in _WRAPPERS:
        if any(key.startswith(prefix) for key in state):
            state = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
    return state


def load_weights(network, weights, strict=True):
    """Loads weights into a network, from our own files or from the authors'.

    The network's class names the published layouts it recognises in ``official_layouts``.

    Args:
        network (nn.Module): Receives the weights.
        weights (str | Path | dict): A checkpoint file, or a state dict.
        strict (bool): Refuse weights that do not fit key by key. Defaults to True.

    Returns:
        KeyReport: Matched, missing and unexpected keys.

    Raises:
        UserError: If the file cannot be read, if nothing in it fits, or, when ``strict``, if anything does not.
    """
    source = 'the state dict' if isinstance(weights, dict) else weights
    state = unwrap_state_dict(weights, source) if isinstance(weights, dict) else read_state_dict(weights)
    state, layout = to_own_layout(network, state)
    own = network.state_dict()
    report = KeyReport(layout)
    for key, value in own.items():
        if key not in state:
            report.missing.append(key)
        elif state[key].shape != value.shape:
            report.mismatched.append(f'{key}: file {tuple(state[key].shape)}, network {tuple(value.shape)}')
        else:
            report.matched.append(key)
    report.unexpected = [key for key in state if key not in own]
    if not report.matched or (strict and not report.complete):
        raise UserError(
            f'{source}: does not fit {type(network).__name__} (matched {len(report.matched)}, missing '
            f'{len(report.missing)}, unexpected {len(report.unexpected)}, of another shape '
            f'{len(report.mismatched)} keys{_example(report)}); give the checkpoint of this model')
    network.load_state_dict({key: state[key] for key in report.matched}, strict=False)
    return report


def to_own_layout(network, state):
    """Renames a published state dict to our names, if the network knows its layout.

    Args:
        network (nn.Module): Whose ``official_layouts`` are tried.
        state (dict[str, Tensor]): Unwrapped weights.

    Returns:
        tuple[dict[str, Tensor], str]: The weights under our names, and the name of the layout.
    """
    for layout in getattr(network, 'official_layouts', ()):
        if layout.matches(state):
            return layout.convert(state), layout.name
    return state, 'mmweather'


def _example(report):
    for kind in ('missing', 'mismatched', 'unexpected'):
        if getattr(report, kind):
            return f'; {kind} for example {getattr(report, kind)[0]}'
    return ''
