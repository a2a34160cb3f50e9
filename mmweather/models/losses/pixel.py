"""Losses that compare pixels."""


def charbonnier(prediction, target, eps=1e-12):
    """The Charbonnier loss ``mean sqrt((a - b)² + eps)``, a smooth L1 (Charbonnier et al., ICIP 1994).

    Args:
        prediction (Tensor): Any shape.
        target (Tensor): The same shape.
        eps (float): Smooths the corner at equality. Defaults to 1e-12.

    Returns:
        Tensor: A scalar, computed in float32 or better: ``eps`` vanishes in half precision.
    """
    difference = prediction.float() - target.float() if prediction.element_size() < 4 else prediction - target
    return (difference.square() + eps).sqrt().mean()
