import re
from typing import Any, Optional, Tuple

from mmengine.model import BaseModule
from torch import Tensor, nn


class ImageModel(BaseModule):
    """An image ViT, split into a stem, blocks and the layers after them.

    Each family of models has a subclass, which holds the library's model as
    ``model``. Class token and registers come before the patches.

    Attributes:
        img_size (int): Pixels per side of the input that it was made for.
        patch_size (int): Pixels per side of a patch.
        out_channels (int): Channels of the features.
        num_prefix (int): Number of tokens before the patches; a class token
            comes first.
        arch_settings (dict): Sizes of the model, for reports.
    """
    model: nn.Module
    embed_dims: int
    num_heads: int
    img_size: int
    patch_size: int
    out_channels: int
    num_prefix: int = 1
    has_class_token: bool = True
    arch_settings: dict
    # Name prefixes of the parameters before the blocks, and of those that
    # pool an image's tokens into one feature.
    stem: Tuple[str, ...] = ()
    pooling: Tuple[str, ...] = ()

    @property
    def blocks(self) -> nn.Module:
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tuple[Tensor, Any]:
        """Turn images ``(N, 3, H, W)`` into tokens.

        Returns:
            tuple: Tokens ``(N, num_prefix + patches, C)``, and positions for
            :meth:`run`.
        """
        raise NotImplementedError

    def split(self, tokens: Tensor,
              grid: Tuple[int, int, int]) -> Tuple[Tensor, Optional[Tensor]]:
        """Split tokens ``(B * T, L, C)`` of a grid T, H, W into patches
        ``(B, T, H, W, C)`` and class tokens ``(B, T, C)``, or None."""
        frames = tokens.unflatten(0, (-1, grid[0]))
        sizes = self.num_prefix, frames.shape[2] - self.num_prefix
        prefix, patches = frames.split(sizes, dim=2)
        patches = patches.unflatten(2, grid[1:])
        if not self.has_class_token:
            return patches, None
        # A view would keep all tokens in memory for the backward pass.
        return patches, prefix[:, :, 0].contiguous()

    def run(self, number: int, tokens: Tensor, positions: Any) -> Tensor:
        """Run block ``number``; a token after the patches has no position."""
        raise NotImplementedError

    def normalize(self, tokens: Tensor) -> Tensor:
        """Apply the last norm to the last block's tokens."""
        raise NotImplementedError

    def finish(self, tokens: Tensor) -> Tensor:
        """Turn the last block's tokens into features, ``(N, E)``."""
        raise NotImplementedError

    def switch_to_deploy(self) -> None:
        """Fold layers where possible, in place and for inference only."""

    def freeze(self, depth: int) -> None:
        """Freeze the stem and the first ``depth`` blocks.

        The number of blocks plus 1 also freezes the layers after them.

        Raises:
            ValueError: ``depth`` is out of range.
        """
        if type(depth) is not int or not 0 <= depth < len(self.blocks) + 2:
            raise ValueError(
                'freeze_image must be True, False or a number of blocks up to '
                f'{len(self.blocks)}, got {depth}; fix '
                '`model.backbone.freeze_image`')
        for name, parameter in self.named_parameters():
            if self.get_layer_depth(name)[0] <= depth:
                parameter.requires_grad_(False)

    def freeze_pooling(self) -> None:
        """Freeze the parameters that only :meth:`finish` uses."""
        for name, parameter in self.named_parameters():
            if name.startswith(self.pooling):
                parameter.requires_grad_(False)

    def get_layer_depth(self, name: str) -> Tuple[int, int]:
        """Get the depth of a parameter, and the number of depths.

        The stem has depth 0; layers after the blocks have the greatest depth.
        """
        depths = len(self.blocks) + 2
        block = re.match(r'model\.(?:layers|blocks)\.(\d+)\.', name)
        if block:
            return int(block[1]) + 1, depths
        stem = tuple(f'model.{part}' for part in self.stem)
        return 0 if name.startswith(stem) else depths - 1, depths
