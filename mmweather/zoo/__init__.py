"""Networks by name, and the small weights that ship with the package.

A network's name is the name of its config: ``configs/vimpnet_tiny.py`` says what ``vimpnet_tiny`` is, for training
and for everyday use alike, so there is no second place where a variant is described.
"""
from pathlib import Path

from mmweather.errors import UserError

_PACKAGE = Path(__file__).resolve().parent.parent
_WEIGHTS = Path(__file__).resolve().parent

__all__ = ['build_network', 'bundled_weights', 'config_names', 'find_config', 'is_stereo', 'load_bundled',
           'load_weights']


def _config_folders():
    # A checkout comes first: the copy in .mim is made when the package is installed and does not follow edits.
    folders = (_PACKAGE.parent / 'configs', _PACKAGE / '.mim' / 'configs')
    return [folder for folder in folders if (folder / '_base_').is_dir()]


def config_names():
    """Names of all configs, sorted; private bases are left out.

    Returns:
        list[str]: Names such as 'vimpnet_tiny'.
    """
    return sorted({path.stem for folder in _config_folders() for path in folder.rglob('*.py')
                   if '_base_' not in path.parts})


def find_config(name):
    """Finds a config by name or path.

    Args:
        name (str | Path): 'vimpnet_tiny', 'vimpnet_tiny.py', or the path of any config file.

    Returns:
        Path: The config file.

    Raises:
        UserError: If there is none; the message lists close names.
    """
    path = Path(name)
    if path.suffix == '.py' and path.is_file():
        return path
    for folder in _config_folders():
        found = sorted(folder.rglob(f'{path.stem}.py'))
        if found:
            return found[0]
    import difflib
    names = config_names()
    close = difflib.get_close_matches(path.stem, names, n=3) or names[:8]
    raise UserError(f'{name}: there is no such model or config; try {", ".join(close)} or the path of a config file')


def build_network(name):
    """Builds a network with fresh weights.

    Args:
        name (str | Path): Name of a model such as 'vimpnet' or 'vimpnet_tiny', or the path of a config file.

    Returns:
        nn.Module: A clip network or a recurrent network, in training mode, with ``model_name`` set to its name.

    Raises:
        UserError: If there is no such config, or it names no network.
    """
    from mmengine import Config

    from mmweather.registry import MODELS
    path = find_config(name)
    generator = Config.fromfile(path).get('model', {}).get('generator')
    if generator is None:
        raise UserError(f'{path}: names no network; expected model = dict(generator=dict(type=...))')
    network = MODELS.build(generator)
    network.model_name = path.stem
    return network


def is_stereo(name):
    """Whether a model restores stereo video.

    Args:
        name (str | Path): Name of a model, or the path of a config file.

    Returns:
        bool: Whether it does; a name that is no model's is left to whoever loads it.
    """
    from mmengine import Config

    import mmweather.models  # noqa: F401  Registers the networks.
    from mmweather.registry import MODELS
    try:
        network = Config.fromfile(find_config(name)).get('model', {}).get('generator', {})
    except UserError:
        return False
    # not MODELS.get, which would import whole packages for the types of others
    return getattr(MODELS.module_dict.get(network.get('type')), 'stereo', False)


def bundled_weights():
    """The weights that ship with the package.

    Returns:
        dict[str, Path]: From a model's name to its file.
    """
    return {path.stem: path for path in sorted(_WEIGHTS.glob('*.safetensors'))}


def load_weights(network, weights, strict=True):
    """Loads a checkpoint into a network: ours or the authors', see :func:`mmweather.models.load_weights`."""
    from mmweather.models import load_weights as load
    if not _needs_weights(network):
        raise UserError(f'{weights if not isinstance(weights, dict) else "the state dict"}: '
                        f'{type(network).__name__} is computed and not learned; leave the checkpoint out')
    return load(network, weights, strict)


def _needs_weights(network):
    # parts of a method, such as the motion networks, move through neither time nor space and do not say
    return getattr(network, 'needs_weights', True)


def load_bundled(name):
    """Builds a network and loads the weights that ship for it, if it needs any.

    Args:
        name (str): For example 'vimpnet_tiny', or 'dcp', which needs none.

    Returns:
        nn.Module: The network in evaluation mode, in float32.

    Raises:
        UserError: If no weights ship for that model.
    """
    network = build_network(name)
    if not _needs_weights(network):
        return network.eval()
    weights = bundled_weights()
    if network.model_name not in weights:
        raise UserError(f'{name}: no weights ship for this model; give a checkpoint, or choose one of '
                        f'{", ".join(weights)}')
    load_weights(network, weights[network.model_name])
    return network.eval()
