"""Distance of features instead of pixels (Johnson et al., ECCV 2016)."""
from pathlib import Path

from torch import nn
from torch.nn import functional as F

from mmweather.errors import UserError

from ..checkpoint import read_state_dict

#: Channels of VGG-19's convolutions (configuration E), 'M' for a pooling.
_VGG19 = (64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M', 512, 512, 512, 512)


class PerceptualLoss(nn.Module):
    """Mean squared difference of VGG-19's features at five depths, without ImageNet's normalisation of the images.

    Args:
        weights (str | Path): File of VGG-19's weights as torchvision distributes them, ``vgg19-dcbb9e9d.pth``; the
            package ships none and downloads none.
        depths (tuple[int]): After how many of VGG's layers features are compared. Defaults to (2, 7, 12, 21, 30).

    Raises:
        UserError: If the file cannot be read or holds no such weights.
    """

    def __init__(self, weights, depths=(2, 7, 12, 21, 30)):
        super().__init__()
        self.depths = tuple(depths)
        layers, channels = [], 3
        for width in _VGG19:
            if width == 'M':
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers[:max(depths)])
        state = {key.removeprefix('features.'): value for key, value in read_state_dict(Path(weights)).items()}
        wanted = self.features.state_dict()
        if any(key not in state or state[key].shape != value.shape for key, value in wanted.items()):
            raise UserError(f'{weights}: not the weights of VGG-19; give the file vgg19-dcbb9e9d.pth of torchvision')
        self.features.load_state_dict({key: state[key] for key in wanted})
        self.requires_grad_(False)

    def forward(self, prediction, target):
        """Compares images ``(N, 3, H, W)`` in [0, 1]; returns the mean over the depths."""
        total, start = 0, 0
        for depth in self.depths:
            stage = self.features[start:depth]
            prediction, target = stage(prediction), stage(target)
            total = total + F.mse_loss(prediction, target)
            start = depth
        return total / len(self.depths)
