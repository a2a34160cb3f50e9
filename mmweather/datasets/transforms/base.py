"""What the transforms share."""
from typing import Any

import numpy as np

__all__ = ['ClipTransform', 'clip_items']


class ClipTransform:
    """Base of the transforms: a callable from the sample's dict to the sample's dict.

    Random decisions are drawn from ``results['rng']`` only, the sample's own generator, so that a sample depends on its
    seed and draw and on nothing else.
    """

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Transform one sample."""
        return self.transform(results)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Transform one sample; subclasses implement this."""
        raise NotImplementedError(f'{type(self).__name__} has no transform method')

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({arguments})'


def clip_items(results: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """The arrays of a sample that are clips: ``(T, H, W, C)``, or ``(T, 2, H, W, C)`` for stereo.

    Args:
        results (dict): The sample.

    Returns:
        list[tuple[str, np.ndarray]]: Keys and arrays, in the sample's order.
    """
    return [(key, value) for key, value in results.items() if isinstance(value, np.ndarray) and value.ndim in (4, 5)]
