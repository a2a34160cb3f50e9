"""Structural similarity with a gradient."""
import torch


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
    rows, columns = (_blur_matrix(length, window, sigma, prediction.device) for length in prediction.shape[-2:])

    def blur(images):
        return rows @ images @ columns

    # Autocast would take the products to half precision.
    with torch.autocast(prediction.device.type, enabled=False):
        x, y = prediction.float(), target.float()
        mean_x, mean_y = blur(x), blur(y)
        variances = blur(x.square() + y.square()) - mean_x.square() - mean_y.square()
        covariance = blur(x * y) - mean_x * mean_y
        quality = ((2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
                   / ((mean_x.square() + mean_y.square() + 0.01**2) * (variances + 0.03**2)))
    return quality.mean()


def _blur_matrix(length, window, sigma, device):
    """The Gaussian blur along one side as a symmetric matrix ``(length, length)``, zeros outside of the image.

    At the sizes of training crops the product with it is a fraction of a convolution's time, which has only one
    channel to work on.
    """
    place = torch.arange(length, device=device, dtype=torch.float32)
    distance = place - place[:, None]
    inside = torch.arange(window, device=device, dtype=torch.float32) - window // 2
    profile = torch.exp(-distance.square() / (2 * sigma**2)) * (distance.abs() <= window // 2)
    return profile / torch.exp(-inside.square() / (2 * sigma**2)).sum()
