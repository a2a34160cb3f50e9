"""Pictures during training and testing: input, output, truth and error side by side, wherever MMEngine writes curves.

``--vis tensorboard`` of the training command switches them on; in a config::

    visualizer = dict(type='ClipVisualizer', vis_backends=[dict(type='LocalVisBackend'),
                                                           dict(type='TensorboardVisBackend')])
    custom_hooks = [dict(type='ClipVisualizationHook', interval=500)]
"""
import copy

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.visualization import Visualizer

from mmweather.registry import HOOKS, VISUALIZERS

__all__ = ['ClipVisualizationHook', 'ClipVisualizer']


@VISUALIZERS.register_module()
class ClipVisualizer(Visualizer):
    """Draws the middle frame of a restored clip: what there is of input, output, truth and error, left to right.

    MMagic's ``BasicVisualizationHook`` calls it as our own hook does.

    Args:
        name (str): As in MMEngine. Defaults to 'visualizer'.
        gain (float): What the absolute error is multiplied by, so that it can be seen. Defaults to 5.0.
        **kwargs: As in MMEngine, for example ``vis_backends``.
    """

    def __init__(self, name='visualizer', gain=5.0, **kwargs):
        super().__init__(name, **kwargs)
        self.gain = gain

    @master_only
    def add_datasample(self, data_sample, step=0, inputs=None, name=None):
        """Hands a picture of one sample to every backend.

        Args:
            data_sample (ClipSample): With ``output`` and, if there is one, ``gt``.
            step (int): The iteration. Defaults to 0.
            inputs (Tensor, optional): What the network saw, of the shape of ``gt``. Defaults to None.
            name (str, optional): Of the picture. Defaults to None: the sample's video, or 'clip'.
        """
        self.add_image(name or str(data_sample.get('video', 'clip')), self.panels(data_sample, inputs), step)

    def panels(self, data_sample, inputs=None):
        """The picture itself.

        Args:
            data_sample (ClipSample): See :meth:`add_datasample`.
            inputs (Tensor, optional): See :meth:`add_datasample`.

        Returns:
            np.ndarray: ``(H, n * W, 3)``, uint8, RGB, n from 1 to 4.
        """
        clips = [inputs, data_sample.output, data_sample.get('gt')]
        # of the size of the output, since a protocol may have cropped it
        height, width = data_sample.output.shape[-2:]
        frames = [_middle_frame(clip)[:height, :width] for clip in clips if clip is not None]
        if clips[2] is not None:
            frames.append((np.abs(frames[-2] - frames[-1]) * self.gain).clip(0, 1))
        return (np.concatenate(frames, axis=1) * 255).round().astype(np.uint8)


def _middle_frame(clip):
    """The middle frame of a clip, of its left view for stereo, as ``(H, W, 3)`` in [0, 1]."""
    frame = clip[len(clip) // 2]
    frame = (frame[0] if frame.ndim == 4 else frame).detach().cpu()
    frame = frame.float() / 255 if frame.dtype == torch.uint8 else frame.float()
    return frame.clamp(0, 1).permute(1, 2, 0).numpy()


@HOOKS.register_module()
class ClipVisualizationHook(Hook):
    """Shows how one and the same training clip is restored as training goes on, and every tested video once.

    It draws no random numbers and leaves the model as it was, so a training is the same with it and without it. The
    visualizer must be a :class:`ClipVisualizer`.

    Args:
        interval (int): Iterations between two pictures; the first comes after the first iteration. Defaults to 500.
        on_test (bool): Whether tested clips are shown too. Defaults to True.
    """

    priority = 'LOW'

    def __init__(self, interval=500, on_test=True):
        self.interval = interval
        self.on_test = on_test
        self.clip = None

    @master_only
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):  # noqa: ARG002
        """Restores the clip that was the first of the first batch."""
        if self.clip is None:
            self.clip = data_batch['inputs'][0], data_batch['data_samples'][0]
        elif not self.every_n_train_iters(runner, self.interval):
            return
        inputs, sample = self.clip
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        with torch.no_grad():
            restored, = model([inputs], [copy.copy(sample)], mode='predict')
        model.train()
        if 'output' in restored:
            runner.visualizer.add_datasample(restored, runner.iter + 1, inputs, 'train_clip')

    @master_only
    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Shows the tested clips."""
        if self.on_test:
            for inputs, sample in zip(data_batch['inputs'], outputs):
                # the name becomes that of a file
                video = str(sample.get('video', batch_idx)).replace('/', '_')
                runner.visualizer.add_datasample(sample, batch_idx, inputs, f'test_{video}')
