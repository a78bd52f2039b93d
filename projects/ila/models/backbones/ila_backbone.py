from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor

from mmaction.registry import MODELS
from ...utils import naming_source
from ...weights import check_weights, convert_to_ila
from ..alignment import ImplicitAlignment
from ..temporal import TemporalChange
from .recomputation import recompute


class ILAFeatures(NamedTuple):
    """Features of ``B`` videos of ``T`` frames.

    Attributes:
        frames (Tensor): Features of the frames, ``(B, T, E)``.
        patches (Tensor): Patch tokens of the last block, ``(B, T, L, C)``.
        points (Tensor, optional): Interactive points,
            ``(layers, B, T - 1, 2, 2)``: per pair the earlier and the later
            frame, each x and y in grid units; None without an alignment.
            There are as many layers as ``temporal_layers``, the blocks that
            align, in their order.
        align_loss (Tensor, optional): Alignment loss of each of these blocks,
            ``(layers,)``; None where there is none or it was not asked for.
    """
    frames: Tensor
    patches: Tensor
    points: Optional[Tensor]
    align_loss: Optional[Tensor]


@MODELS.register_module()
class ILABackbone(BaseModule):
    """An image ViT with implicit learnable alignment.

    Before each block a temporal module may change the tokens of the frames
    and add one. The block itself stays as it is, and the added token is
    dropped after it.

    Args:
        image (dict): Config of an image model, see ``models/images``.
        temporal (dict, optional): Config of a temporal module: the paper's
            ``TokenAlignment`` or ``ReleasedAlignment``, that of the authors'
            released code. With None each frame is on its own. Defaults to
            ``TokenAlignment``.
        layers (Sequence[int], optional): Numbers, from 0 on and in any order,
            of the blocks that have a temporal module. Defaults to all.
        freeze_image (bool): Whether the image model's weights stay as they
            are and only what is added to them is trained, as the authors
            train the released form. What ``TokenAlignment`` adds only finds
            the points: with the image model frozen it can hardly learn.
            Defaults to False.
        with_cp (bool): Whether training computes the blocks again in the
            backward pass instead of keeping what is in them, which takes less
            memory and more time. Defaults to False.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: Settings do not fit each other.
    """

    def __init__(self,
                 image: dict,
                 temporal: Optional[dict] = dict(type='TokenAlignment'),
                 layers: Optional[Sequence[int]] = None,
                 freeze_image: bool = False,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.image = MODELS.build(image)
        self.embed_dims = self.image.embed_dims
        self.num_layers = len(self.image.blocks)
        self.temporal_layers = self._check_layers(layers, temporal)
        self.with_cp = with_cp
        self.deployed = False
        self.temporal = ModuleDict()
        for number in self.temporal_layers:
            module = MODELS.build(
                dict(
                    temporal,
                    embed_dims=self.embed_dims,
                    num_heads=self.image.num_heads))
            module.attach(self.image.blocks[number])
            self.temporal[str(number)] = module
            if module.needs_class_token and not self.image.has_class_token:
                raise ValueError(
                    f'{type(module).__name__} with these settings needs a '
                    'class token, which the image model lacks; fix '
                    '`model.backbone.temporal`')
        if freeze_image:
            self.image.requires_grad_(False)

    def _check_layers(self, layers: Optional[Sequence[int]],
                      temporal: Optional[dict]) -> Tuple[int, ...]:
        if temporal is None:
            if layers is not None:
                raise ValueError(
                    'without `model.backbone.temporal` there are no temporal '
                    'layers; leave `model.backbone.layers` out, or set it to '
                    'None')
            return ()
        if layers is None:
            return tuple(range(self.num_layers))
        if not isinstance(layers, (list, tuple)) or any(
                not isinstance(number, int)
                or not 0 <= number < self.num_layers
                for number in layers) or len(set(layers)) < len(layers):
            raise ValueError('layers must be a list of different block '
                             f'numbers from 0 to {self.num_layers - 1}, got '
                             f'{layers}; fix `model.backbone.layers`')
        if not layers:
            raise ValueError('layers is empty; fix `model.backbone.layers`, '
                             'or set `model.backbone.temporal` to None')
        return tuple(sorted(layers))

    @property
    def temporal_type(self) -> str:
        """str: Name of the temporal modules' class; ``'None'`` for none."""
        names = {type(module).__name__ for module in self.temporal.values()}
        return names.pop() if names else 'None'

    @property
    def adds_token(self) -> bool:
        """bool: Whether a token joins those of the frames in blocks."""
        return any(module.adds_token for module in self.temporal.values())

    @property
    def alignments(self) -> List[ImplicitAlignment]:
        """list[ImplicitAlignment]: One of each block that aligns."""
        modules = self.temporal.values()
        return [
            module.alignment for module in modules
            if module.alignment is not None
        ]

    def forward(self,
                x: Tensor,
                disturb: Optional[bool] = None,
                with_loss: bool = True) -> ILAFeatures:
        """Extract features.

        Args:
            x (Tensor): Normalised videos, ``(B, 3, T, H, W)``.
            disturb (bool, optional): Whether to disturb the alignment's
                masks. None means in training only.
            with_loss (bool): Whether to compute the alignment losses.

        Returns:
            ILAFeatures: Frame and patch features, points and losses.

        Raises:
            ValueError: The videos have one frame, or the patches do not
                divide them.
        """
        grid = self._patch_grid(x)
        batch, frames = len(x), grid[0]
        tokens, positions = self.image.embed(x.transpose(1, 2).flatten(0, 1))

        points, losses = [], []
        for number in range(self.num_layers):
            arguments = number, tokens, grid, positions, disturb, with_loss
            if self.with_cp and self.training:
                tokens, found, loss = recompute(self._run, self, *arguments)
            else:
                tokens, found, loss = self._run(*arguments)
            if found is not None:
                points.append(found)
                losses.append(loss)

        patches = tokens[:, self.image.num_prefix:]
        return ILAFeatures(
            frames=self.image.finish(tokens).unflatten(0, (batch, frames)),
            patches=patches.unflatten(0, (batch, frames)),
            points=torch.stack(points) if points else None,
            align_loss=torch.stack(losses) if points and with_loss else None)

    def _run(self, number: int, tokens: Tensor, grid: Tuple[int, int, int],
             positions, disturb: Optional[bool], with_loss: bool) -> tuple:
        """Run a block and what comes before it.

        Returns:
            tuple: Tokens, points and alignment loss, or None for either.
        """
        if number not in self.temporal_layers:
            return self.image.run(number, tokens, positions), None, None
        patches, class_token = self._frames(tokens, grid)
        change = self.temporal[str(number)](patches, class_token, disturb,
                                            with_loss)
        tokens = self.image.run(number, self._change(change, tokens),
                                positions)
        if change.token is not None:
            tokens = tokens[:, :-1]
        return tokens, change.points, change.loss

    def _frames(self, tokens: Tensor,
                grid: Tuple[int, int, int]) -> Tuple[Tensor, Optional[Tensor]]:
        """Take patches ``(B, T, H, W, C)`` and class tokens ``(B, T, C)``."""
        frames = tokens.unflatten(0, (-1, grid[0]))
        class_token = frames[:, :, 0] if self.image.has_class_token else None
        patches = frames[:, :, self.image.num_prefix:]
        return patches.unflatten(2, grid[1:]), class_token

    def _change(self, change: TemporalChange, tokens: Tensor) -> Tensor:
        """Change the tokens ``(B * T, L, C)`` and add one to them."""
        first = self.image.num_prefix
        others, patches = [tokens[:, :first]], tokens[:, first:]
        if change.class_token is not None:
            others = [
                tokens[:, :1] + change.class_token.flatten(0, 1)[:, None]
            ]
            if first > 1:  # The registers stay.
                others.append(tokens[:, 1:first])
        if change.patches is not None:
            patches = patches + change.patches.flatten(2, 3).flatten(0, 1)
        parts = [*others, patches]
        if change.token is not None:
            parts.append(change.token.flatten(0, 1)[:, None])
        return torch.cat(parts, dim=1)

    def _patch_grid(self, x: Tensor) -> Tuple[int, int, int]:
        """Get the frames, and the rows and columns of their patches."""
        frames, height, width = x.shape[2:]
        size = self.image.patch_size
        if frames < 2:
            raise ValueError('ILA aligns pairs of frames, got videos of '
                             f'{frames}; fix `clip_len` in the pipeline')
        if height % size or width % size:
            raise ValueError(
                f'patches of {size} pixels do not divide an input of '
                f'{height} x {width}; fix the crop size in the pipeline')
        return frames, height // size, width // size

    def switch_to_deploy(self) -> None:
        """Make inference faster, with the same results up to rounding.

        Normalisations are folded into convolutions, linear layers that follow
        each other into one, and CLIP's QuickGELU is computed as SiLU. It is
        done in place, once the weights are loaded, and cannot be undone:
        names and shapes of the weights change.
        """
        if not self.deployed:
            self.deployed = True
            for module in (self.image, *self.temporal.values()):
                module.switch_to_deploy()

    def set_disturbance_scale(self, scale: float) -> None:
        """Scale the masks' disturbance in all blocks that align.

        Args:
            scale (float): 1 for the configured disturbance, 0 for none.
        """
        for module in self.temporal.values():
            module.set_disturbance_scale(scale)

    def get_layer_depth(self,
                        param_name: str,
                        prefix: str = '') -> Tuple[int, int]:
        """Get the depth of a parameter, for layer-wise learning rates.

        Args:
            param_name (str): Name of the parameter.
            prefix (str): Its part that is not the backbone's.

        Returns:
            tuple[int, int]: Depth and number of depths. The stem has depth 0.
            What is added to the image model is as deep as the head.
        """
        part = f'{prefix}image.'
        if param_name.startswith(part):
            return self.image.get_layer_depth(param_name[len(part):])
        return self.num_layers + 1, self.num_layers + 2

    def _load_from_state_dict(self, state_dict: dict, prefix: str,
                              local_metadata: dict, *args) -> None:
        if not prefix:  # Loaded alone, not as a part of a recognizer.
            self._prepare_loaded_weights(
                state_dict, local_metadata.get('source', 'weights'))
        super()._load_from_state_dict(state_dict, prefix, local_metadata,
                                      *args)

    def _prepare_loaded_weights(self, state_dict: dict, source: str) -> None:
        """Take the backbone out of weights of CLIP or a recognizer."""
        part = 'backbone.'
        weights = convert_to_ila(state_dict)
        if not any(name.startswith(part) for name in weights):
            weights = {part + name: value for name, value in weights.items()}
        weights = {
            name: value
            for name, value in weights.items() if name.startswith(part)
        }
        own = {part + name: value for name, value in self.state_dict().items()}
        with naming_source(source):
            check_weights(own, weights)
        state_dict.clear()
        state_dict.update(
            (name[len(part):], value) for name, value in weights.items())
