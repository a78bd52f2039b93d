from functools import partial
from typing import List, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from mmaction.registry import MODELS
from ...utils.config_arguments import find_class
from ...weights import prepare_weights
from ..alignment import ImplicitAlignment
from ..images import lora as low_rank
from ..temporal import TemporalModule
from .ila_features import EncodedFrames, ILAFeatures, Outputs
from .recomputation import recompute


@MODELS.register_module()
class ILABackbone(BaseModule):
    """An image ViT with implicit learnable alignment.

    Before each block, a temporal module may change the tokens of a frame and
    add one token. The block itself is unchanged, and the added token is
    dropped after it.

    Args:
        image (dict): Config of an image model, see ``models/images``.
        temporal (dict, optional): Config of a temporal module:
            ``TokenAlignment`` from the paper, or ``ReleasedAlignment`` from
            the authors' released code. None processes each frame separately.
        layers (Sequence[int], optional): Indices, from 0 and in any order, of
            the blocks with a temporal module. Defaults to all blocks.
        freeze_image (bool | int): Whether to freeze the image model, as the
            authors do with ``ReleasedAlignment``. ``TokenAlignment`` only
            finds the points, so it learns little without training the image
            model. A number N freezes the stem and the first N blocks.
        lora (dict, optional): Settings of LoRA, ``rank`` (default 8) and
            ``alpha`` (default twice the rank). It freezes the image model and
            trains low-rank updates of its attention weights.
        with_cp (bool): Whether to use activation checkpointing, which saves
            memory but computes blocks again in the backward pass.
        out_type (str): Output of :meth:`forward`: ``'raw'``, all features;
            ``'cls_token'``, the mean of the frame features, ``(B, E)``; or
            ``'featmap'``, the normalised patches, ``(B, C, T, H, W)``.

    Raises:
        ValueError: Settings are invalid or contradict each other.
    """
    OUT_TYPES = ('raw', 'cls_token', 'featmap')

    def __init__(self,
                 image: dict,
                 temporal: Optional[dict] = dict(type='TokenAlignment'),
                 layers: Optional[Sequence[int]] = None,
                 freeze_image: Union[bool, int] = False,
                 lora: Optional[dict] = None,
                 with_cp: bool = False,
                 out_type: str = 'raw',
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        if out_type not in self.OUT_TYPES:
            raise ValueError(f"out_type must be one of {self.OUT_TYPES}, got "
                             f"'{out_type}'; fix `model.backbone.out_type`")
        self.out_type = out_type
        self.image = MODELS.build(image)
        self.embed_dims = self.image.embed_dims
        self.num_layers = len(self.image.blocks)
        self.temporal_layers = self._check_layers(layers, temporal)
        self.with_cp = with_cp
        self.deployed = False
        if lora is not None:
            self._add_lora(lora, freeze_image)
        self.temporal = ModuleDict()
        for number in self.temporal_layers:
            module = MODELS.build(
                dict(
                    temporal,
                    embed_dims=self.embed_dims,
                    num_heads=self.image.num_heads))
            if module.needs_class_token and not self.image.has_class_token:
                raise ValueError(
                    f'{type(module).__name__} with these settings needs a '
                    'class token, which the image model lacks; fix '
                    '`model.backbone.temporal`')
            module.attach(self.image.blocks[number])
            self.temporal[str(number)] = module
        if freeze_image is not False:
            self.image.freeze(self.num_layers +
                              1 if freeze_image is True else freeze_image)
        if out_type == 'featmap':  # The pooling would get no gradient.
            self.image.freeze_pooling()
        self.last_patches = nn.Identity()  # For hooks such as Grad-CAM's.

    def _add_lora(self, lora: dict, freeze_image: Union[bool, int]) -> None:
        if not isinstance(lora, dict) or lora.keys() - {'rank', 'alpha'}:
            raise ValueError('lora must be a dict with `rank` and `alpha`, or '
                             f'None, got {lora}; fix `model.backbone.lora`')
        if freeze_image is not False:
            raise ValueError(
                '`model.backbone.lora` freezes the image weights by itself; '
                'remove `model.backbone.freeze_image`, or lora')
        low_rank.adapt(self.image, **lora)

    def _check_layers(self, layers: Optional[Sequence[int]],
                      temporal: Optional[dict]) -> Tuple[int, ...]:
        if temporal is None:
            if layers is not None:
                raise ValueError(
                    'without `model.backbone.temporal` there are no temporal '
                    'layers; leave `model.backbone.layers` out, or set it to '
                    'None')
            return ()
        if not isinstance(temporal, dict) or 'type' not in temporal:
            raise ValueError('temporal must be a dict with a `type`, or None, '
                             f'got {temporal}; fix `model.backbone.temporal`')
        kind = find_class(temporal['type'])
        if not (isinstance(kind, type) and issubclass(kind, TemporalModule)):
            raise ValueError(
                f"'{temporal['type']}' is not a temporal module; fix "
                '`model.backbone.temporal.type`')
        given = {'embed_dims', 'num_heads'} & temporal.keys()
        if given:
            raise ValueError('the image model decides on them; remove '
                             f'{sorted(given)} from `model.backbone.temporal`')
        if layers is None:
            return tuple(range(self.num_layers))
        if not isinstance(layers, (list, tuple)) or any(
                type(number) is not int or not 0 <= number < self.num_layers
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
        names = {type(module).__name__ for module in self.temporal.values()}
        return names.pop() if names else 'None'

    @property
    def adds_token(self) -> bool:
        return any(module.adds_token for module in self.temporal.values())

    @property
    def alignments(self) -> List[ImplicitAlignment]:
        found = (module.alignment for module in self.temporal.values())
        return [alignment for alignment in found if alignment is not None]

    def forward(self,
                x: Tensor,
                disturb: Optional[bool] = None,
                with_loss: bool = True,
                return_features: bool = False,
                encoded: Optional[EncodedFrames] = None) -> Outputs:
        """Extract features.

        Args:
            x (Tensor): Normalised videos, ``(B, 3, T, H, W)``.
            disturb (bool, optional): Whether to disturb the alignment's
                masks. None means in training only.
            with_loss (bool): Whether to compute the alignment losses.
            return_features (bool): Whether to ignore ``out_type``.
            encoded (EncodedFrames, optional): The frames, already encoded.

        Returns:
            Tensor | ILAFeatures: See ``out_type``. In training with alignment
            losses, all features, for ``AlignmentLossNeck``.

        Raises:
            ValueError: There are too few frames, or the input size is not a
                multiple of the patch size.
        """
        whole = return_features or self.out_type == 'raw'
        with_loss = with_loss and (whole or self.training)
        grid = self._patch_grid(x)
        images = x.transpose(1, 2).flatten(0, 1)
        first, tokens, positions = encoded or (0, *self.image.embed(images))
        run = self._run
        if self.with_cp and self.training:
            run = partial(recompute, run, self)
        points, losses = [], []
        for number in range(first, self.num_layers):
            if number == self.num_layers - 1:
                tokens = self._show_patches(tokens, grid)
            tokens, found, loss = run(number, tokens, grid, positions, disturb,
                                      with_loss)
            if found is not None:
                points.append(found)
                losses.append(loss)

        videos = len(x), grid[0]
        tokens = tokens[:, :self._count_tokens(grid)]
        features = ILAFeatures(
            frames=self.image.finish(tokens).unflatten(0, videos),
            patches=tokens[:, self.image.num_prefix:].unflatten(0, videos),
            points=torch.stack(points) if points else None,
            frame_points=self._merge_points(points) if points else None,
            align_loss=torch.stack(losses) if points and with_loss else None,
            featmap=self._to_map(self.image.normalize(tokens), grid)
            if self.out_type == 'featmap' else None)
        if whole or features.align_loss is not None:
            return features
        return features.output

    def _to_map(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        return self.image.split(tokens, grid)[0].permute(0, 4, 1, 2, 3)

    def _show_patches(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """Show hooks the last block's input as a map, with its gradient."""
        if not self.last_patches._forward_hooks:
            return tokens
        tokens = tokens[:, :self._count_tokens(grid)]
        patches = self.last_patches(self._to_map(tokens, grid))
        patches = patches.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)
        return torch.cat([tokens[:, :self.image.num_prefix], patches], dim=1)

    def _run(self, number: int, tokens: Tensor, grid: Tuple[int, int, int],
             positions, *args) -> tuple:
        """Run a block; return its tokens, points and alignment loss.

        An added token is kept until the next block replaces or drops it.
        """
        length = self._count_tokens(grid)
        if number not in self.temporal_layers:
            tokens = self.image.run(number, tokens[:, :length], positions)
            return tokens, None, None
        change = self.temporal[str(number)](*self.image.split(
            tokens[:, :length], grid), *args)
        tokens = change.apply(tokens, self.image.num_prefix, length)
        tokens = self.image.run(number, tokens, positions)
        return tokens, change.points, change.loss

    def _merge_points(self, points: List[Tensor]) -> Tensor:
        """Average the points of each frame over the pairs it belongs to."""
        merged = self.alignments[0].pairs.merge(torch.cat(points))
        merged = merged.unflatten(0, (len(points), -1))
        return merged.movedim(0, 2).flatten(2, -2)

    def _count_tokens(self, grid: Tuple[int, int, int]) -> int:
        return self.image.num_prefix + grid[1] * grid[2]

    def _patch_grid(self, x: Tensor) -> Tuple[int, int, int]:
        frames, height, width = x.shape[2:]
        size = self.image.patch_size
        if frames < 2 and self.temporal:
            raise ValueError('temporal modules relate frames, got videos of '
                             f'{frames}; fix `clip_len` in the pipeline')
        if height % size or width % size:
            raise ValueError(
                f'patches of {size} pixels do not divide an input of '
                f'{height} x {width}; fix the crop size in the pipeline')
        return frames, height // size, width // size

    def switch_to_deploy(self) -> None:
        """Make inference faster, with the same results up to rounding.

        LoRA is merged into the weights, normalisations into convolutions,
        consecutive linear layers into one, and the scales of CLIP's QuickGELU
        into linear layers. Load weights first: their names and shapes change.
        """
        if not self.deployed:
            self.deployed = True
            for linear in low_rank.find_adapted(self.image):
                linear.merge()
            for module in (self.image, *self.temporal.values()):
                module.switch_to_deploy()

    def set_disturbance_scale(self, scale: float) -> None:
        """Scale the masks' disturbance: 1 as configured, 0 for none."""
        for alignment in self.alignments:
            alignment.disturbance_scale = scale

    def get_layer_depth(self,
                        param_name: str,
                        prefix: str = '') -> Tuple[int, int]:
        """Get the depth of a parameter and the number of depths.

        The stem has depth 0; temporal modules have the depth of the head.
        The names of the backbone's parameters start with ``prefix``.
        """
        part = f'{prefix}image.'
        if param_name.startswith(part):
            return self.image.get_layer_depth(param_name[len(part):])
        return self.num_layers + 1, self.num_layers + 2

    def _load_from_state_dict(self, state_dict: dict, prefix: str,
                              local_metadata: dict, *args) -> None:
        if not prefix:  # Loaded on its own, not as part of a recognizer.
            weights = prepare_weights(
                self.state_dict(),
                state_dict,
                local_metadata.get('source', 'weights'),
                part='backbone.')
            state_dict.clear()
            state_dict.update(weights)
        super()._load_from_state_dict(state_dict, prefix, local_metadata,
                                      *args)
