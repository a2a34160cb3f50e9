"""The metric protocols as an MMEngine metric: per frame, per video and overall, as a table and as JSON."""
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmweather.errors import UserError
from mmweather.registry import METRICS

from .lpips import find_lpips
from .protocols import Protocol, get_protocol, score

__all__ = ['RestorationMetric', 'summarise']

Numbers = dict[str, float]


def summarise(videos: dict[str, dict[str, Numbers]], protocol: str | Protocol) -> dict:
    """Average the frames' numbers as a protocol does.

    Args:
        videos (dict[str, dict[str, dict[str, float]]]): Numbers by video and frame name, frames in order.
        protocol (str | Protocol): The protocol.

    Returns:
        dict: ``mean`` (numbers overall), ``videos`` (for each its ``mean`` and its ``frames``) and ``frames`` (how many
        frames count). Frames that the protocol skips are left out.

    Raises:
        UserError: If no frame is left.
    """
    protocol = get_protocol(protocol)
    kept = {video: dict(list(frames.items())[protocol.skip_first:]) for video, frames in videos.items()}
    kept = {video: frames for video, frames in kept.items() if frames}
    if not kept:
        raise UserError(f'there is no frame to score by the {protocol.name} protocol, which skips the first '
                        f'{protocol.skip_first} of each video: give it longer videos')
    report = {video: dict(mean=_mean(frames.values()), frames=frames) for video, frames in kept.items()}
    every = [numbers for frames in kept.values() for numbers in frames.values()]
    overall = every if protocol.mean_over == 'frames' else [entry['mean'] for entry in report.values()]
    return dict(mean=_mean(overall), frames=len(every), videos=report)


def _mean(entries) -> Numbers:
    entries = list(entries)
    return {name: float(np.mean([entry[name] for entry in entries])) for name in entries[0]}


@METRICS.register_module()
class RestorationMetric(BaseMetric):
    """PSNR and SSIM (and LPIPS) of restored clips by a named protocol.

    Samples may be whole videos or windows of them; frames are put together by ``video`` and ``names``. Each rank of a
    distributed test scores its own samples; what the sampler padded is dropped by MMEngine.

    The keys of the result carry the protocol's name: ``vrds/PSNR``, ``vrds/SSIM``, ``vrds/LPIPS``, with ``baseline``
    also ``vrds/input_PSNR`` and so on, and for stereo clips ``sfvc/left_PSNR``, ``sfvc/right_PSNR`` and so on.

    Args:
        protocol (str | Protocol): ``'vrds'``, ``'rvsd'``, ``'sfvc'``, ``'plain'`` or ``'koehler'``. Defaults to 'vrds'.
        prefix (str, optional): Prefix of the keys. Defaults to None: the protocol's name.
        save_json (str, optional): File for all numbers down to the single frame. Defaults to None.
        lpips (str | bool): Whether LPIPS is taken too: ``'auto'`` means if the protocol has it and its weights are at
            hand (see :mod:`mmweather.evaluation.lpips`), True that it is a fault if they are not. Defaults to 'auto'.
        baseline (bool): Score the network's input beside its output. Defaults to False.
        collect_device (str): As in MMEngine. Defaults to 'cpu'.
        collect_dir (str, optional): As in MMEngine. Defaults to None.

    Raises:
        UserError: If ``lpips`` is True but the protocol has none or there are no weights.
    """

    def __init__(self,
                 protocol: str | Protocol = 'vrds',
                 prefix: str | None = None,
                 save_json: str | None = None,
                 lpips: str | bool = 'auto',
                 baseline: bool = False,
                 collect_device: str = 'cpu',
                 collect_dir: str | None = None) -> None:
        self.protocol = get_protocol(protocol)
        super().__init__(collect_device=collect_device, prefix=prefix or self.protocol.name, collect_dir=collect_dir)
        self.save_json = save_json
        self.baseline = baseline
        self.lpips, self.lpips_left_out = self._find_lpips(lpips)

    def _find_lpips(self, wanted: str | bool):
        if wanted not in (True, False, 'auto'):
            raise ValueError(f"lpips must be True, False or 'auto', got {wanted!r}")
        if not wanted:
            return None, 'off'
        reason = 'unspecified'
        if self.protocol.lpips:
            network = find_lpips()
            if network is not None:
                return network.to(get_device()), None
            reason = 'no weights'
        if wanted is True:
            raise UserError(f'LPIPS cannot be taken by the {self.protocol.name} protocol ({reason}): leave it out with '
                            f'lpips=False, or see mmweather.evaluation.lpips for where weights are looked for')
        return None, reason

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score one batch.

        Args:
            data_batch (dict): The batch from the data loader; ``inputs`` is read if ``baseline`` is set.
            data_samples (Sequence[dict]): Samples with ``output`` (floating point in [0, 1]), ``gt`` (uint8, or
                floating point in [0, 1]), ``video`` and ``names``. Clips are ``(T, 3, H, W)``, or ``(T, 2, 3, H, W)``
                for stereo.

        Raises:
            UserError: If a sample has no ground truth.
        """
        for index, sample in enumerate(data_samples):
            if sample.get('gt') is None:
                raise UserError(f'{sample["video"]} has no ground truth to score against: test it with '
                                f'`mmweather restore`, or take the metric out of the config')
            numbers = self._score_clip(sample['output'], sample['gt'], '')
            if self.baseline:
                # A protocol that crops has cropped the ground truth.
                height, width = sample['gt'].shape[-2:]
                inputs = self._score_clip(data_batch['inputs'][index][..., :height, :width], sample['gt'], 'input_')
                numbers = [{**frame, **other} for frame, other in zip(numbers, inputs, strict=True)]
            self.results.append(dict(video=sample['video'], frames=dict(zip(sample['names'], numbers, strict=True))))

    def _score_clip(self, clip: torch.Tensor, gt: torch.Tensor, prefix: str) -> list[Numbers]:
        """Numbers of each frame of a clip."""
        if clip.shape != gt.shape:
            raise ValueError('restored frames and ground truth differ in shape: '
                             f'{tuple(clip.shape)} and {tuple(gt.shape)}')
        views = {'': ...} if clip.ndim == 4 else {'left_': 0, 'right_': 1}
        frames = []
        for restored, clean in zip(clip, gt, strict=True):
            numbers = {}
            for view, index in views.items():
                for name, value in self._score_frame(_to_numpy(restored[index]), _to_numpy(clean[index])).items():
                    numbers[f'{prefix}{view}{name}'] = value
            frames.append(numbers)
        return frames

    def _score_frame(self, restored: np.ndarray, gt: np.ndarray) -> Numbers:
        numbers = {name.upper(): value for name, value in score(restored, gt, self.protocol).items()}
        if self.lpips is not None:
            step = -1 if self.protocol.lpips == 'bgr' else 1
            numbers['LPIPS'] = self.lpips.distance(*(_to_uint8(image)[..., ::step] for image in (restored, gt)))
        return numbers

    def compute_metrics(self, results: list[dict]) -> Numbers:
        """Average, print the table and write the JSON file; called on the main process only.

        Args:
            results (list[dict]): What :meth:`process` collected on all ranks.

        Returns:
            dict[str, float]: The overall numbers.
        """
        # MMEngine hands the results over in the dataset's order, so windows of one video join in the order of time
        videos: dict[str, dict[str, Numbers]] = {}
        for result in results:
            videos.setdefault(result['video'], {}).update(result['frames'])
        report = summarise(videos, self.protocol)
        print_log(self._table(report), logger='current')
        if self.save_json:
            self._write(report)
        return report['mean']

    def _table(self, report: dict) -> str:
        from rich.console import Console
        from rich.table import Table

        names = list(report['mean'])
        caption = self.protocol.description
        if self.lpips_left_out == 'no weights':
            caption += '; LPIPS left out (no weights)'
        table = Table(title=f'{self.prefix} ({report["frames"]} frames)', caption=caption)
        table.add_column('video')
        for name in names:
            table.add_column(name, justify='right')
        rows = [(video, entry['mean']) for video, entry in report['videos'].items()]
        for video, numbers in rows:
            table.add_row(video, *(_format(name, numbers[name]) for name in names))
        table.add_section()
        table.add_row('mean', *(_format(name, report['mean'][name]) for name in names), style='bold')
        buffer = io.StringIO()
        Console(file=buffer, width=100).print(table)
        return '\n' + buffer.getvalue()

    def _write(self, report: dict) -> None:
        content = dict(protocol=self.protocol.name, description=self.protocol.description)
        if self.lpips_left_out:
            content['lpips_left_out'] = self.lpips_left_out
        path = Path(self.save_json)
        # written beside its final name and renamed when whole
        part = path.with_name(f'{path.name}.part')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(_strict({**content, **report}), indent=1, allow_nan=False)
            part.write_text(f'{text}\n', encoding='utf-8')
            os.replace(part, path)
        except OSError as error:
            raise UserError(f'{path} cannot be written ({error.strerror}): choose another save_json') from error
        finally:
            if part.exists():
                part.unlink()


def _to_numpy(image: torch.Tensor) -> np.ndarray:
    image = image.detach().permute(1, 2, 0).cpu()
    return (image if image.dtype == torch.uint8 else image.float()).numpy()


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.round(image.clip(0, 1) * 255).astype(np.uint8)


def _format(name: str, value: float) -> str:
    return f'{value:.2f}' if name.endswith('PSNR') else f'{value:.4f}'


def _strict(value):
    """JSON has no infinity, the PSNR of equal images: it is written as a string that ``float`` reads."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
