"""The second stage of ViMP-Net: a mask-guided dual transformer over soft patches of a whole clip.

Soft split and soft composition come from FuseFormer (ICCV 2021): overlapping patches in, overlapping sums out.
"""
import torch
import torch.nn.functional as F
from torch import nn

from ..layers.conv3d import ClipConv3d
from ..layers.reconstruction import ClipUpsampler, frame_conv


class DualRaindropTransformer(nn.Module):
    """Predicts the residual that fills what raindrops hide.

    Two streams of tokens are refined side by side: one from frames and mask together, one from the frames and
    from the frames with the drops cut out. A last block lets the former read from the latter.

    Args:
        encoder_channels (tuple[int, int, int]): Widths of the encoders' three convolutions.
            Defaults to (64, 128, 256).
        embed_dims (int): Channels of a token. Defaults to 512.
        num_heads (int): Attention heads. Defaults to 4.
        ffn_channels (int): Width of the feed-forward networks. Defaults to 2048.
        repeats (tuple[int]): How often each dual block is applied, its weights reused. Defaults to (2, 2).
        patch_size (int): Side of a patch at a quarter of the resolution. Defaults to 7.
        patch_stride (int): Distance of neighbouring patches. Defaults to 3.
        upsample_channels (tuple[int, int]): Widths of the convolutions before the two pixel shuffles.
            Defaults to (128, 64).
        attention_window (int, optional): Tokens attend to those of all frames within windows of about this many tokens
            squared, which divide the frame evenly: ours, since the time that attention takes grows with the square of
            its tokens. Overlapping patches still tie neighbouring windows together. Defaults to None: all tokens, as
            published.
        init_std (float, optional): Standard deviation of all initial weights; the published 0.02 suits the published
            widths. None scales each layer to its width, which narrow networks need. Defaults to 0.02.
    """

    def __init__(self, encoder_channels=(64, 128, 256), embed_dims=512, num_heads=4, ffn_channels=2048,
                 repeats=(2, 2), patch_size=7, patch_stride=3, upsample_channels=(128, 64), attention_window=None,
                 init_std=0.02):
        super().__init__()
        self.repeats = tuple(repeats)
        self.attention_window = attention_window
        # Slope 0.01 at the end of the two RGB encoders is what the published code has.
        self.encode_masked_pair = _ClipEncoder(4, encoder_channels, last_slope=0.2)
        self.encode_frames = _ClipEncoder(3, encoder_channels, last_slope=0.01)
        self.encode_background = _ClipEncoder(3, encoder_channels, last_slope=0.01)
        self.patches = _SoftPatches(encoder_channels[-1], embed_dims, patch_size, patch_stride)
        self.merge_tokens = nn.Conv1d(2 * embed_dims, embed_dims, 1)
        self.blocks = nn.ModuleList(_DualBlock(embed_dims, num_heads, ffn_channels) for _ in self.repeats)
        self.fuse = _FusionBlock(embed_dims, num_heads, ffn_channels)
        self.upsample = ClipUpsampler(encoder_channels[-1], upsample_channels)
        self.to_residual = frame_conv(self.upsample.out_channels, 3)
        self.init_weights(init_std)

    def init_weights(self, std):
        """Draws weights from N(0, std), or by the width of each layer if ``std`` is None; biases are zero."""
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
                if std is None:
                    nn.init.kaiming_normal_(module.weight, a=0.2)
                else:
                    nn.init.normal_(module.weight, 0.0, std)
                nn.init.zeros_(module.bias)
        if std is None:
            # Overlapping patches add up. Features of a size far from one would drown the first stage's gradients.
            self.patches.to_patch.weight.data.mul_(0.1 * self.patches.overlap**-1)
            # Begin with a network that changes nothing, and learn from there.
            nn.init.zeros_(self.to_residual.weight)

    def forward(self, stage1, drop_mask):
        """Predicts what to add to the first stage's frames.

        Args:
            stage1 (Tensor): Streak-free frames ``(N, T, 3, H, W)``.
            drop_mask (Tensor): Raindrops' probability ``(N, T, 1, H, W)``.

        Returns:
            Tensor: The residual ``(N, T, 3, H, W)``.
        """
        frames, mask = stage1.transpose(1, 2), drop_mask.transpose(1, 2)
        whole = self.patches.split(self.encode_masked_pair(torch.cat((frames, mask), dim=1)))
        split_pair = torch.cat([
            self.patches.split(self.encode_frames(frames)),
            self.patches.split(self.encode_background(frames * (1 - mask)))], dim=-1)
        context = self.merge_tokens(split_pair.transpose(1, 2)).transpose(1, 2)
        quarter = (stage1.shape[-2] // 4, stage1.shape[-1] // 4)
        windows = _Windows(stage1.shape[1], *self.patches.grid(quarter), self.attention_window)
        for block, times in zip(self.blocks, self.repeats):
            for _ in range(times):
                whole, context = block(whole, context, windows)
        tokens = self.fuse(whole, context, windows)
        features = self.patches.compose(tokens, stage1.shape[1], quarter)
        return self.to_residual(self.upsample(features)).transpose(1, 2)


class _ClipEncoder(nn.Sequential):
    """Frames ``(N, C, T, H, W)`` to features ``(N, widths[-1], T, H/4, W/4)``."""

    def __init__(self, in_channels, widths, last_slope):
        super().__init__(
            frame_conv(in_channels, widths[0]), nn.LeakyReLU(0.2, inplace=True),
            ClipConv3d(widths[0], widths[1], 3, stride=(1, 2, 2), padding=1), nn.LeakyReLU(0.2, inplace=True),
            ClipConv3d(widths[1], widths[2], 3, stride=(1, 2, 2), padding=1), nn.LeakyReLU(last_slope, inplace=True))


class _SoftPatches(nn.Module):
    """Overlapping patches to tokens and back (FuseFormer's soft split and soft composition).

    A linear layer over unfolded patches is a strided convolution, and a linear layer whose patches are folded back is
    a transposed one; run as such, no patch is ever copied out of its frame.
    """

    def __init__(self, channels, embed_dims, patch_size, stride):
        super().__init__()
        self.geometry = dict(stride=stride, padding=patch_size // 2)
        self.patch_shape = (channels, patch_size, patch_size)
        self.overlap = patch_size / stride
        self.to_token = nn.Linear(channels * patch_size**2, embed_dims)
        self.to_patch = nn.Linear(embed_dims, channels * patch_size**2)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)

    def grid(self, size):
        """How many rows and columns of patches features of a size (height, width) have."""
        patch, stride, padding = self.patch_shape[-1], self.geometry['stride'], self.geometry['padding']
        return tuple((side + 2 * padding - patch) // stride + 1 for side in size)

    def split(self, features):
        """Features ``(N, C, T, H, W)`` to tokens ``(N, T * patches per frame, embed_dims)``."""
        weight = self.to_token.weight.view(-1, *self.patch_shape)
        frames = features.transpose(1, 2).flatten(0, 1)
        tokens = F.conv2d(frames, weight, self.to_token.bias, **self.geometry)
        return tokens.flatten(2).transpose(1, 2).reshape(features.shape[0], -1, weight.shape[0])

    def compose(self, tokens, num_frames, size):
        """Tokens back to features ``(N, C, T, *size)``; overlapping patches add up."""
        n = tokens.shape[0]
        patch, stride, padding = self.patch_shape[-1], self.geometry['stride'], self.geometry['padding']
        rows, columns = self.grid(size)
        grid = tokens.reshape(n * num_frames, rows, columns, -1).permute(0, 3, 1, 2)
        # The bias belongs to every patch, so it adds up with the overlaps: one more input channel, all ones.
        grid = F.pad(grid, (0, 0, 0, 0, 0, 1), value=1.0)
        weight = torch.cat((self.to_patch.weight.t(), self.to_patch.bias[None])).view(-1, *self.patch_shape)
        beyond = [side + 2 * padding - patch - (count - 1) * stride for side, count in zip(size, (rows, columns))]
        features = self.smooth(F.conv_transpose2d(grid, weight, output_padding=beyond, **self.geometry))
        return features.unflatten(0, (n, num_frames)).transpose(1, 2)


class _Windows:
    """Within which windows the tokens of ``frames`` times ``rows`` times ``columns`` patches attend to each other."""

    def __init__(self, frames, rows, columns, side=None):
        self.grid = frames, rows, columns
        self.rows, self.columns = (
            _even_parts(count, 1 if side is None else max(1, round(count / side))) for count in (rows, columns))

    def attend(self, query, key, value):
        """Attends within every window; all are ``(N, heads, tokens, channels)``."""
        if len(self.rows) == len(self.columns) == 1:
            return F.scaled_dot_product_attention(query, key, value)
        streams = [tokens.unflatten(2, self.grid) for tokens in (query, key, value)]

        def window(rows, columns):
            inside = [tokens[..., rows, columns, :] for tokens in streams]
            attended = F.scaled_dot_product_attention(*(tokens.flatten(2, 4) for tokens in inside))
            return attended.unflatten(2, inside[0].shape[2:5])

        attended = [torch.cat([window(rows, columns) for columns in self.columns], dim=4) for rows in self.rows]
        return torch.cat(attended, dim=3).flatten(2, 4)


def _even_parts(count, number):
    """Slices that divide ``count`` into ``number`` parts whose lengths differ by one at most."""
    ends = [count * part // number for part in range(number + 1)]
    return [slice(*pair) for pair in zip(ends, ends[1:])]


class _Attention(nn.Module):
    """Multi-head attention of one sequence of tokens to another."""

    def __init__(self, channels, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x, source, windows):
        query, key, value = (
            project(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project, tokens in ((self.query, x), (self.key, source), (self.value, source)))
        attended = windows.attend(query, key, value)
        return self.out(attended.transpose(1, 2).flatten(-2))


def _feed_forward(channels, hidden):
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))


class _DualBlock(nn.Module):
    """Both streams attend to themselves with shared weights, then pass feed-forward networks of their own."""

    def __init__(self, channels, num_heads, ffn_channels):
        super().__init__()
        self.attention = _Attention(channels, num_heads)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.ffn1 = _feed_forward(channels, ffn_channels)
        self.ffn2 = _feed_forward(channels, ffn_channels)

    def forward(self, whole, context, windows):
        return self._stream(whole, self.ffn1, windows), self._stream(context, self.ffn2, windows)

    def _stream(self, x, ffn, windows):
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, windows)
        return x + ffn(self.norm2(x))


class _FusionBlock(nn.Module):
    """One stream reads from the other. The residual starts from the normalised stream, as in the published code."""

    def __init__(self, channels, num_heads, ffn_channels):
        super().__init__()
        self.attention = _Attention(channels, num_heads)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.ffn = _feed_forward(channels, ffn_channels)

    def forward(self, whole, context, windows):
        x = self.norm1(whole)
        x = x + self.attention(x, self.norm1(context), windows)
        return x + self.ffn(self.norm2(x))
