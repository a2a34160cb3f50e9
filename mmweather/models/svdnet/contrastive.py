"""The snow-aware contrastive loss.

The paper (ICCV 2023) gives the name and the purpose: it "helps identify and eliminate snow features". The form is that
of AECR-Net's contrastive regularisation (CVPR 2021); what the negatives are is our design.
"""
import copy

import torch
import torch.nn.functional as F
from torch import nn

from ..losses import PerceptualLoss
from .physics import compose


class SnowContrastiveLoss(nn.Module):
    """Restored frames are drawn to clean ones and pushed away from snowy ones, in feature space.

    ::

        L = sum_i w_i d_i(J, G) / (d_i(J, I) + mean_k d_i(J, R_k) + eps),   d_i(x, y) = mean |phi_i(x) - phi_i(y)|

    with J restored, G clean, I snowy and R_k the restored frame snowed on anew, by the layers that were estimated for
    other clips of the batch. Gradients flow through J where it is the anchor, and nowhere else.

    The features phi are those of VGG-19 if its weights are given; otherwise of a copy of the restorer's own encoder
    that follows it slowly and never receives a gradient (:meth:`follow`, :meth:`update`).

    Args:
        vgg19 (str | Path, optional): File of VGG-19's weights as torchvision distributes them. Defaults to None.
        resnowed (int): Number K of re-snowed frames, 0 for none. Defaults to 1.
        momentum (float): Of the copy's exponential moving average. Defaults to 0.999.
        frames (int, optional): How many frames of a clip are compared, from its middle; None for all. Defaults to None.
        eps (float): Bounds the ratio where the restored frame equals its negatives. Defaults to 1e-2.

    Raises:
        UserError: If the VGG-19 file cannot be read.
    """

    #: Of relu1_1 ... relu5_1, as in AECR-Net.
    VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)

    def __init__(self, vgg19=None, resnowed=1, momentum=0.999, frames=None, eps=1e-2):
        super().__init__()
        self.resnowed, self.momentum, self.frames, self.eps = resnowed, momentum, frames, eps
        self.vgg = PerceptualLoss(vgg19) if vgg19 else None
        self.encoder = None

    def follow(self, encoder):
        """Begins to follow an encoder, from a copy of it; without effect if there is a VGG-19.

        Args:
            encoder (nn.Module): Has ``stages(frames)``, a list of features.
        """
        if self.vgg is None:
            self.encoder = copy.deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def update(self, encoder):
        """Takes the copy a step of the moving average towards the encoder."""
        if self.encoder is not None:
            for slow, fast in zip(self.encoder.parameters(), encoder.parameters()):
                slow.lerp_(fast.to(slow), 1 - self.momentum)

    def forward(self, restored, clean, snowy, layers=None):
        """Compares clips.

        Args:
            restored (Tensor): J, ``(N, T, 3, H, W)`` in [0, 1]; the only one that receives a gradient.
            clean (Tensor): G, likewise.
            snowy (Tensor): I, likewise.
            layers (dict[str, Tensor], optional): ``snow`` ``(N, T, 3, H, W)``, ``transmission`` ``(N, T, 1, H, W)``
                and ``airlight`` ``(N, T, 3, 1, 1)`` for snowing on J anew. Defaults to None: the difference of snowy
                and restored frames is added.

        Returns:
            Tensor: A scalar, float32.
        """
        clips = [self._middle(clip.float()) for clip in (restored, clean, snowy)]
        restored, clean, snowy = clips
        layers = {name: self._middle(layer.detach().float()) for name, layer in (layers or {}).items()}
        # In float32 whatever the autocast: near equality the differences are small differences of large numbers.
        with torch.autocast(restored.device.type, enabled=False):
            anchor = self._features(restored)
            with torch.no_grad():
                positive = self._features(clean)
                negatives = [self._features(snowy)]
                negatives += [self._features(self._snow_anew(restored, snowy, layers, shift + 1))
                              for shift in range(self.resnowed)]
            weights = self.VGG_WEIGHTS if self.vgg is not None else [1 / len(anchor)] * len(anchor)
            total = restored.new_zeros(())
            for index, (weight, feature) in enumerate(zip(weights, anchor)):
                near = F.l1_loss(feature, positive[index])
                far = F.l1_loss(feature, negatives[0][index])
                if self.resnowed:
                    far = far + sum(F.l1_loss(feature, negative[index]) for negative in negatives[1:]) / self.resnowed
                total = total + weight * near / (far + self.eps)
        return total

    @staticmethod
    def _snow_anew(restored, snowy, layers, shift):
        """The restored frames under the snow of other clips, mirrored, so that even a single clip meets new snow."""
        def other(layer):
            return layer.roll(shift, dims=0).flip(-1)

        restored = restored.detach()
        if {'snow', 'transmission', 'airlight'} <= set(layers):
            snowed = compose(restored, *(other(layers[name]) for name in ('snow', 'transmission', 'airlight')))
        else:
            snowed = restored + other((snowy - restored).clamp_min(0))
        return snowed.clamp(0, 1)

    def _features(self, clip):
        frames = clip.flatten(0, 1)
        if self.vgg is None:
            if self.encoder is None:
                raise RuntimeError('SnowContrastiveLoss has no features: call follow(encoder) first, or give vgg19')
            return self.encoder.stages(frames)
        features, start = [], 0
        for depth in self.vgg.depths:
            frames = self.vgg.features[start:depth](frames)
            features.append(frames)
            start = depth
        return features

    def _middle(self, clip):
        if self.frames is None or clip.shape[1] <= self.frames:
            return clip
        start = (clip.shape[1] - self.frames) // 2
        return clip[:, start:start + self.frames]
