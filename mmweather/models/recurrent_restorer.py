"""Training of recurrent networks: frame by frame through a clip, with the state handed on."""
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace

import torch

from mmweather.errors import UserError
from mmweather.registry import MODELS

from .restorer import BaseRestorer


@MODELS.register_module()
class RecurrentRestorer(BaseRestorer):
    """A recurrent network with its loss.

    A clip is walked through as a video is: the state begins with its first frame, or with the last of ``context``
    frames that are not restored themselves, and beyond the last frame there is nothing but that frame.

    One iteration of the training is one clip. What an optimiser step is, ``update`` says:

    - ``'frame'``: every frame has its own forward pass, backward pass and optimiser step, and gets the state that the
      weights of the moment before have made. So PVDNet was published; clips of 13 frames make 13 steps.
    - ``'clip'``: gradients are accumulated and one step is taken at the clip's end. It spares the optimiser and, in
      distributed training, all but one exchange of gradients.

    In distributed training it needs :class:`mmweather.RecurrentDistributedDataParallel`.

    Args:
        generator (dict): Config of the network, a :class:`RecurrentNetwork`.
        update (str): See above. Defaults to 'frame'.
        detach_state (bool): Whether no gradient flows from a frame to the frames before it. Without it,
            back-propagation goes through the whole clip, or as far as ``truncate`` says, and ``update`` must be
            'clip'. Defaults to True.
        truncate (int, optional): Without ``detach_state``, gradients reach this many frames back at most: the clip is
            cut into parts of one frame more, and the state is detached between them. 0 is what ``detach_state`` does.
            Defaults to None: the whole clip.
        context (int): Frames at the clip's beginning that only the state is made of. Defaults to 0.
        **kwargs: See :class:`BaseRestorer`. The loss is called once per frame, with what the network's step returns
            and the targets of that frame, ``(N, C, H, W)`` each.

    Raises:
        ValueError: If the arguments do not go together.
    """

    def __init__(self, generator, update='frame', detach_state=True, truncate=None, context=0, **kwargs):
        super().__init__(generator, **kwargs)
        if update not in ('frame', 'clip'):
            raise ValueError(f"update: expected 'frame' or 'clip', got {update!r}")
        if not detach_state and update == 'frame':
            raise ValueError("detach_state=False needs update='clip': a step per frame changes the weights that the "
                             'gradients of earlier frames belong to')
        if truncate is not None and (detach_state or truncate < 0):
            raise ValueError(f'truncate: expected at least 0, and detach_state=False, got {truncate} and '
                             f'detach_state={detach_state}')
        self.update = update
        self.detach_state = detach_state
        self.truncate = 0 if detach_state else truncate
        self.context = context

    def forward(self, inputs, data_samples=None, mode='tensor', **kwargs):
        """Runs one of the modes of :class:`BaseRestorer`, or 'frame'.

        Args:
            inputs (Tensor | list[Tensor]): As there; for 'frame' the frames that a step sees.
            data_samples (dict | list[ClipSample], optional): As there; for 'frame' the targets of the frame.
            mode (str): 'tensor' for the restored clip, 'loss' for the terms' mean over the frames, 'predict' for
                samples with ``output``, 'frame' for a step's loss terms and new state. Defaults to 'tensor'.
            **kwargs: ``state`` for 'frame'.

        Returns:
            Any: As the mode says.
        """
        if mode == 'frame':
            return self.frame_losses(inputs, data_samples, **kwargs)
        if mode == 'tensor':
            frames, state = self._frames(inputs), self._first_state(inputs)
            restored = []
            for frame in frames:
                output, state = self.generator.step(frame, state)
                restored.append(output['output'] if isinstance(output, dict) else output)
            return torch.stack(restored, dim=1)
        return super().forward(inputs, data_samples, mode)

    def train_step(self, data, optim_wrapper):
        """Trains on one batch of clips; see :class:`RecurrentRestorer`.

        Args:
            data (dict): A batch as the data loader collates it.
            optim_wrapper (OptimWrapper): Takes the steps.

        Returns:
            dict[str, Tensor]: The loss terms and their sum ``loss``, means over the frames.
        """
        return self.train_clip(data, optim_wrapper, self)

    def train_clip(self, data, optim_wrapper, forward, waiting=nullcontext):
        """Trains on one batch, with every forward pass made through ``forward``.

        Args:
            data (dict): A batch as the data loader collates it.
            optim_wrapper (OptimWrapper): Takes the steps.
            forward (nn.Module): This model, or what wraps it.
            waiting (Callable): Makes the context of the frames after which no step is taken. Defaults to
                ``nullcontext``.

        Returns:
            dict[str, Tensor]: See :meth:`train_step`.
        """
        if self.loss is None:
            raise UserError("model.loss is not set; name one in the config to train, for example "
                            "loss=dict(type='PVDLoss')")
        data = self.data_preprocessor(data, training=True)
        inputs = self.prepare_clip(data['inputs'])
        frames, state = self._frames(inputs), self._first_state(inputs)
        logs, kept = [], 0
        for index, frame in enumerate(frames):
            targets = self._targets(data['data_samples'], index)
            last = index == len(frames) - 1
            steps = last or self.update == 'frame'
            with nullcontext() if steps else waiting():
                with optim_wrapper.optim_context(forward):
                    losses, state = forward(frame, targets, mode='frame', state=state)
                    total, log = self.parse_losses(losses)
                logs.append({name: value.detach() for name, value in log.items()})
                kept = kept + (total / len(frames) if self.update == 'clip' else total)
                if last or self._ends_part(index):
                    state = _detached(state)
                    optim_wrapper.backward(kept)
                    kept = 0
            if steps:
                optim_wrapper.step()
                optim_wrapper.zero_grad()
        return _means(logs)

    def prepare_clip(self, inputs):
        """What is done to the clips ``(N, T, 3, H, W)`` in [0, 1] before training; here nothing."""
        return inputs

    def frame_losses(self, frames, targets, state):
        """One step and its loss.

        Args:
            frames (Tensor): The frame and those looked at ahead of it, ``(N, 1 + lookahead, 3, H, W)`` in [0, 1].
            targets (dict[str, Tensor]): Targets of the frame, ``(N, C, H, W)`` in [0, 1].
            state (Any): The network's state.

        Returns:
            tuple[dict[str, Tensor], Any]: The weighted loss terms, and the new state.
        """
        prediction, state = self.generator.step(frames, state)
        prediction = prediction if isinstance(prediction, dict) else dict(output=prediction)
        return self.loss(prediction, targets), state

    def _losses(self, inputs, targets):
        inputs = self.prepare_clip(inputs)
        frames, state = self._frames(inputs), self._first_state(inputs)
        terms = []
        for index, frame in enumerate(frames):
            losses, state = self.frame_losses(frame, self._targets(targets, index), state)
            state = _detached(state) if self._ends_part(index) else state
            terms.append(losses)
        return _means(terms)

    def _ends_part(self, index):
        """Whether no gradient flows from the frames after number ``index`` to it."""
        return self.truncate is not None and (index + 1) % (self.truncate + 1) == 0

    def _first_state(self, clip):
        return self.generator.init_state(self._window(clip, max(0, self.context - 1)))

    def _frames(self, clip):
        """What each step sees: one window per frame that is restored."""
        # Frames beyond the last target are there for looking ahead only, as those before the first for the state.
        ahead = self.generator.lookahead if self.context else 0
        count = clip.shape[1] - self.context - ahead
        if count < 1:
            raise UserError(f'the training clips have {clip.shape[1]} frames, of which {self.context + ahead} are '
                            'context and none is left to restore; raise num_frames of the dataset')
        return [self._window(clip, self.context + index) for index in range(count)]

    def _window(self, clip, start):
        last = clip.shape[1] - 1
        return torch.stack([clip[:, min(start + ahead, last)] for ahead in range(1 + self.generator.lookahead)], dim=1)

    def _targets(self, targets, index):
        return {name: value[:, self.context + index] for name, value in targets.items()}


def _means(terms):
    """Means of loss terms over the frames that have them."""
    names = dict.fromkeys(name for losses in terms for name in losses)
    return {name: torch.stack([losses[name] for losses in terms if name in losses]).mean() for name in names}


def _detached(state):
    """The state without its history, whatever it is made of."""
    if torch.is_tensor(state):
        return state.detach()
    if is_dataclass(state):
        return replace(state, **{field.name: _detached(getattr(state, field.name)) for field in fields(state)})
    if isinstance(state, dict):
        return {key: _detached(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(_detached(value) for value in state)
    return state
