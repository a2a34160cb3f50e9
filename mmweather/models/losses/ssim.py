"""Structural similarity with a gradient."""
import torch
import torch.nn.functional as F


def ssim(prediction, target, window=11, sigma=1.5):
    """Mean structural similarity (Wang et al., TIP 2004) of images in [0, 1], zero-padded as in the protocol ``sfvc``.

    Args:
        prediction (Tensor): ``(N, C, H, W)``.
        target (Tensor): The same shape.
        window (int): Side of the Gaussian window in pixels, odd. Defaults to 11.
        sigma (float): Its standard deviation in pixels. Defaults to 1.5.

    Returns:
        Tensor: A scalar of at most 1, computed in float32: the variances are small differences of large numbers.
    """
    distance = torch.arange(window, device=prediction.device, dtype=torch.float32) - window // 2
    profile = torch.exp(-distance.square() / (2 * sigma**2))
    profile = profile / profile.sum()

    def blur(images):
        planes = images.flatten(0, 1).unsqueeze(1)
        rows = F.conv2d(planes, profile.view(1, 1, 1, -1), padding=(0, window // 2))
        return F.conv2d(rows, profile.view(1, 1, -1, 1), padding=(window // 2, 0))

    # Autocast would take the convolutions to half precision.
    with torch.autocast(prediction.device.type, enabled=False):
        x, y = prediction.float(), target.float()
        mean_x, mean_y = blur(x), blur(y)
        variances = blur(x * x) + blur(y * y) - mean_x.square() - mean_y.square()
        covariance = blur(x * y) - mean_x * mean_y
        quality = ((2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
                   / ((mean_x.square() + mean_y.square() + 0.01**2) * (variances + 0.03**2)))
    return quality.mean()
