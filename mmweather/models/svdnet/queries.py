"""Snow-query temporal aggregation.

The paper (ICCV 2023) gives the name and the purpose: it "aggregates features between video frames and removes snow".
Everything inside is our design.
"""
import torch
import torch.nn.functional as F
from torch import nn

from ..layers import flow_warp


class SnowQueryAggregation(nn.Module):
    """Looks for snow with learned queries, and for the scene behind it in the neighbouring frames.

    In windows of each frame and its two neighbours, aligned by flow:

    1. *Gather*: learned queries attend to all tokens of the window and find out what snow looks like here; a token that
       stands for "nothing" lets them come back empty-handed.
    2. *Score*: a token is as snowy as the query that suits it best says, ``s = sigmoid(max_j <x, q_j> / sqrt(d) + b)``.
    3. *Aggregate*: tokens of the frame attend to tokens of all three frames with logits lowered by ``trust * s``, so
       that observations without snow count. A relative position bias begins local, because the frames are aligned.
    4. *Remove*: what the tokens have in common with the queries is subtracted.
    5. A feed-forward network.

    Windows make memory linear in the number of pixels.

    Args:
        channels (int): Channels of the features.
        num_queries (int): Number of snow queries. Defaults to 48.
        window (int): Side of a window. Defaults to 8.
        num_heads (int): Attention heads. Defaults to 4.
        ffn_channels (int, optional): Width of the feed-forward network. Defaults to None: twice ``channels``.
    """

    #: Frames that a frame is looked for in: the one before, itself, the one after.
    OBSERVATIONS = 3

    def __init__(self, channels, num_queries=48, window=8, num_heads=4, ffn_channels=None):
        super().__init__()
        if channels % num_heads:
            raise ValueError(f'channels: expected a multiple of num_heads ({num_heads}), got {channels}')
        ffn_channels = ffn_channels or 2 * channels
        self.window, self.num_heads = window, num_heads
        self.queries = nn.Parameter(torch.randn(num_queries, channels) * 0.3)
        self.norm = nn.LayerNorm(channels)
        self.gather_key_value = nn.Linear(channels, 2 * channels)
        self.gather_out = nn.Linear(channels, channels)
        self.score = nn.Linear(channels, channels, bias=False)
        self.snow_bias = nn.Parameter(torch.tensor(-2.0))
        self.trust = nn.Parameter(torch.full((num_heads, ), 8.0))
        self.aggregate_query = nn.Linear(channels, channels, bias=False)
        self.aggregate_key = nn.Linear(channels, channels, bias=False)
        self.aggregate_out = nn.Linear(channels, channels)
        self.position = nn.Parameter(torch.zeros(num_heads, self.OBSERVATIONS, (2 * window - 1)**2))
        self.register_buffer('_offsets', _relative_offsets(window), persistent=False)
        self.remove_query = nn.Linear(channels, channels)
        self.remove_key_value = nn.Linear(channels, 2 * channels)
        self.remove_out = nn.Linear(channels, channels)
        self.ffn = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, ffn_channels), nn.GELU(),
                                 nn.Linear(ffn_channels, channels))
        self.init_weights()

    def init_weights(self):
        """Begins as a plain aggregation over time: same place, all frames, as much as each is free of snow."""
        for layer in (self.score, self.aggregate_out):
            nn.init.eye_(layer.weight)
        for layer in (self.gather_out, self.remove_out, self.ffn[-1]):
            nn.init.zeros_(layer.weight)
        for layer in (self.gather_out, self.remove_out, self.ffn[-1], self.aggregate_out):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.aggregate_query.weight)
        steps = torch.arange(1 - self.window, self.window, dtype=torch.float32)
        distance = (steps[:, None].square() + steps.square()).flatten()
        self.position.data.copy_((-4 * distance).clamp_min(-12.0).expand_as(self.position))

    def forward(self, features, to_next, to_previous):
        """Aggregates and removes.

        Args:
            features (Tensor): Features of T frames, ``(N, T, C, H, W)``.
            to_next (Tensor): Flows from each frame to the next, ``(N, T-1, 2, H, W)`` in pixels of the features.
            to_previous (Tensor): Flows from each frame but the first to the one before, likewise.

        Returns:
            tuple[Tensor, Tensor]: Features ``(N, T, C, H, W)``, and how snowy each place is, ``(N, T, 1, H, W)`` in
            [0, 1].
        """
        n, t, _, height, width = features.shape
        observed, visible = observe_neighbours(features, to_next, to_previous)
        tokens, visible = self._split(observed), self._split(visible)
        here = tokens[:, 1]
        normed = self.norm(tokens).flatten(1, 2)

        descriptors = self._gather(normed)
        scores = (self.score(normed) @ descriptors.transpose(1, 2)).amax(-1) * normed.shape[-1]**-0.5
        snow = (scores.float() + self.snow_bias).sigmoid()

        here = here + self.aggregate_out(self._aggregate(normed, tokens.flatten(1, 2), snow, visible.flatten(1)) - here)
        here = here - self.remove_out(self._remove(here, descriptors))
        here = here + self.ffn(here)

        snow = snow.unflatten(1, (self.OBSERVATIONS, -1))[:, 1, :, None]
        return self._join(here, (n, t, height, width)), self._join(snow, (n, t, height, width))

    def _gather(self, tokens):
        """What snow looks like in each window, ``(B, num_queries, C)``."""
        key, value = self.gather_key_value(tokens).chunk(2, dim=-1)
        # The token for "nothing".
        key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
        query = self.queries.to(key.dtype).expand(len(tokens), -1, -1)
        return self.queries + self.gather_out(self._attend(query, key, value))

    def _aggregate(self, normed, tokens, snow, visible):
        """The frame's tokens as the clearest observations show them, ``(B, window², C)``."""
        area = self.window**2
        query = self._heads(self.aggregate_query(normed[:, area:2 * area]))
        key = self._heads(self.aggregate_key(normed))
        # Each key's own bias rides along as one more channel of q and k: as a mask it would be as large as all logits.
        # Seven more channels of zeros, and eight of the values, make heads of the widths that fused kernels accept.
        scale = query.shape[-1]**-0.5
        bias = -self.trust.abs()[:, None] * snow[:, None] - 30.0 * (1 - visible[:, None].float())
        key = torch.cat((key, F.pad(bias[..., None].to(key.dtype) / scale, (0, 7))), dim=-1)
        query = torch.cat((query, F.pad(torch.ones_like(query[..., :1]), (0, 7))), dim=-1)
        position = self.position[:, :, self._offsets].transpose(1, 2).flatten(2)[None].to(query.dtype)
        value = F.pad(self._heads(tokens).to(query.dtype), (0, 8))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=position, scale=scale)
        return attended[..., :-8].transpose(1, 2).flatten(2)

    def _remove(self, here, descriptors):
        """What the tokens share with the snow of their window, ``(B, window², C)``."""
        key, value = self.remove_key_value(descriptors).chunk(2, dim=-1)
        return self._attend(self.remove_query(self.norm(here)), key, value)

    def _attend(self, query, key, value):
        attended = F.scaled_dot_product_attention(self._heads(query), self._heads(key), self._heads(value))
        return attended.transpose(1, 2).flatten(2)

    def _heads(self, x):
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _split(self, x):
        """``(N, T, K, C, H, W)`` to windows ``(B, K, window², C)``; borders are repeated to fill the last ones."""
        n, t, k, c, height, width = x.shape
        bottom, right = -height % self.window, -width % self.window
        if bottom or right:
            x = F.pad(x.flatten(0, 2), (0, right, 0, bottom), mode='replicate').unflatten(0, (n, t, k))
        x = x.unflatten(-1, (-1, self.window)).unflatten(-3, (-1, self.window))
        # n t k c rows r columns s -> n t rows columns k r s c
        return x.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(-1, k, self.window**2, c)

    def _join(self, windows, shape):
        """``(B, window², C)`` back to ``(N, T, C, H, W)``."""
        n, t, height, width = shape
        rows, columns = -(-height // self.window), -(-width // self.window)
        x = windows.view(n, t, rows, columns, self.window, self.window, -1).permute(0, 1, 6, 2, 4, 3, 5)
        return x.reshape(n, t, -1, rows * self.window, columns * self.window)[..., :height, :width]


def observe_neighbours(frames, to_next, to_previous):
    """Every frame as its neighbours show it, aligned by flow.

    Args:
        frames (Tensor): Frames or features ``(N, T, C, H, W)``.
        to_next (Tensor): Flows from each frame to the next, ``(N, T-1, 2, H, W)`` in pixels of ``frames``.
        to_previous (Tensor): Flows from each frame but the first to the one before, likewise.

    Returns:
        tuple[Tensor, Tensor]: ``(N, T, 3, C, H, W)``: the frame before, the frame itself, the frame after; and
        ``(N, T, 3, 1, H, W)``: where each of them has anything to show (beyond its rim and beyond the clip's ends it
        has not), 1 or 0.
    """
    n, t, c, height, width = frames.shape
    nothing, nowhere = torch.zeros_like(frames[:, :1]), frames.new_zeros(n, 1, 1, height, width)
    if t == 1:
        before = after = nothing
        sees_before = sees_after = nowhere
    else:
        def warp(source, flow):
            warped = flow_warp(source.reshape(-1, c, height, width), flow.reshape(-1, 2, height, width),
                               padding_mode='border')
            return warped.view(n, t - 1, c, height, width), _inside(flow).to(frames.dtype)

        before, sees_before = warp(frames[:, :-1], to_previous)
        after, sees_after = warp(frames[:, 1:], to_next)
        before, sees_before = torch.cat((nothing, before), 1), torch.cat((nowhere, sees_before), 1)
        after, sees_after = torch.cat((after, nothing), 1), torch.cat((sees_after, nowhere), 1)
    return (torch.stack((before, frames, after), 2),
            torch.stack((sees_before, torch.ones_like(sees_before), sees_after), 2))


def _inside(flow):
    """Where a flow ``(N, T, 2, H, W)`` ends inside of the frame, ``(N, T, 1, H, W)``, bool."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, :, :1]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, :, 1:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _relative_offsets(window):
    """Index of the offset between any two places of a window, int64 ``(window², window²)``."""
    place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')).flatten(1)
    rows, columns = (place[:, None] - place[:, :, None]) + window - 1
    return rows * (2 * window - 1) + columns
