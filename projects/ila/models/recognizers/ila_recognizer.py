from contextlib import nullcontext
from typing import Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from mmaction.models.recognizers import Recognizer3D
from mmaction.registry import MODELS
from mmaction.utils import OptSampleList
from ...weights import prepare_weights
from ..backbones import ILAFeatures
from ..heads import ILATextHead, check_text_tower
from .batch_statistics import use_batch_statistics
from .blending import build_blending
from .head_inputs import as_input, head_inputs, video_features
from .hub_mixin import HubMixin
from .part_check import check_parts


@MODELS.register_module()
class ILARecognizer(Recognizer3D, HubMixin):
    """Video recognizer with implicit learnable alignment.

    Weights of CLIP and of the released ILA are renamed when they are loaded.

    Args:
        backbone (dict): Config of an ``ILABackbone``.
        cls_head (dict): Config of ``ILATextHead`` or ``ILALinearHead``, or of
            a head of MMAction2 that accepts the backbone's ``out_type``, such
            as ``TimeSformerHead`` or ``I3DHead``.
        neck (dict, optional): Config of ``MultiframeIntegrationTransformer``
            or ``TrajectoryTransformer``. None averages the frames.
        align_loss_weight (float): Weight of the sum of alignment losses.
        bf16 (bool): Whether backbone and neck run in bfloat16 where
            ``torch.autocast`` considers it safe. Weights and head stay in
            float32, and no loss scaling is needed.
        compile (bool | str | dict): Whether to compile the backbone, or
            arguments of ``torch.compile``. There is one graph for training
            and one for inference, for any batch size. ``'temporal'`` compiles
            only the temporal modules, which takes less time.
        test_cfg (dict, optional): ``max_testing_views`` (int) limits the
            number of views in a forward pass. A compiled model always uses
            this number, by default that of the first batch.
            ``batch_statistics=True`` predicts like the released code when it
            validates on Kinetics-400: batch norms use the statistics of the
            batch, one view per video, and update their running statistics.
        data_preprocessor (dict, optional): Config of
            ``ILADataPreprocessor`` or ``ActionDataPreprocessor``. Its blending
            needs no ``num_classes``.
        init_cfg (dict, optional): Initialization config;
            ``dict(type='Pretrained', checkpoint=...)`` loads a CLIP file.
        **kwargs: Arguments of MMAction2's ``Recognizer3D``.
    """

    def __init__(self,
                 backbone: dict,
                 cls_head: dict,
                 neck: Optional[dict] = None,
                 align_loss_weight: float = 1.,
                 bf16: bool = False,
                 compile: Union[bool, str, dict] = False,
                 data_preprocessor: Optional[dict] = None,
                 init_cfg: Optional[dict] = None,
                 **kwargs) -> None:
        blending = None
        if data_preprocessor is None:
            data_preprocessor = dict(type='ActionDataPreprocessor')
        if isinstance(data_preprocessor, dict):
            data_preprocessor = {**data_preprocessor}
            blending = data_preprocessor.pop('blending', None)
            # MMEngine would find it only in a default scope.
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(
            backbone=backbone,
            neck=neck,
            cls_head=cls_head,
            data_preprocessor=data_preprocessor,
            **kwargs)
        if blending is not None:
            self.data_preprocessor.blending = build_blending(
                blending, self.cls_head.num_classes)
        check_parts(self)
        self.init_cfg = init_cfg
        self.align_loss_weight = align_loss_weight
        self.bf16 = bf16
        self.compiled = compile is True or isinstance(compile, dict)
        self.compiled_views: Optional[int] = None  # Set by the first batch.
        if self.batch_statistics and 'max_testing_views' in self.test_cfg:
            raise ValueError(
                '`model.test_cfg.batch_statistics` takes one view at a time; '
                'remove `model.test_cfg.max_testing_views`')
        if self.compiled:
            options = dict() if compile is True else compile
            self.backbone.compile(**{'fullgraph': True, **options})
        elif compile == 'temporal':
            for module in self.backbone.temporal.values():
                module.compile(fullgraph=True)
        elif compile:
            raise ValueError(
                "compile must be True, False, 'temporal' or a dict of "
                f"arguments of torch.compile, got '{compile}'; fix "
                '`model.compile`')
        self._register_load_state_dict_pre_hook(self._prepare_loaded_weights)

    def _prepare_loaded_weights(self, state_dict: dict, prefix: str,
                                local_metadata: dict, *args) -> None:
        # With a prefix, it is a part of another model, such as its EMA.
        weights = {
            name[len(prefix):]: value
            for name, value in state_dict.items() if name.startswith(prefix)
        }
        converted = prepare_weights(self.state_dict(), weights,
                                    local_metadata.get('source', 'weights'),
                                    self.cls_head.num_classes)
        for name in weights:
            del state_dict[prefix + name]
        state_dict.update(
            (prefix + name, value) for name, value in converted.items())

    def get_layer_depth(self, param_name: str) -> Tuple[int, int]:
        """Get the depth of a parameter and the number of depths.

        Neck and head have the greatest depth.
        """
        return self.backbone.get_layer_depth(param_name, 'backbone.')

    @property
    def batch_statistics(self) -> bool:
        return (self.test_cfg or dict()).get('batch_statistics', False)

    @property
    def _is_watched(self) -> bool:
        """bool: Whether hooks such as Grad-CAM's need all views at once."""
        return bool(self.backbone.last_patches._forward_hooks)

    def switch_to_deploy(self) -> None:
        """Make inference faster, see :class:`ILABackbone`."""
        if not self.batch_statistics:  # Such batch norms cannot be folded.
            self.backbone.switch_to_deploy()

    def extract_feat(self,
                     inputs: Tensor,
                     data_samples: OptSampleList = None,
                     test_mode: bool = False) -> tuple:
        """Extract the features for the head.

        Args:
            inputs (Tensor): N videos in M views, ``(N, M, 3, T, H, W)``.

        Returns:
            tuple: Video features ``(N * M, E)`` with patch features
            ``(N * M, T, L, C)``, or one tensor for a head of MMAction2; and
            the head's keyword arguments: in training ``loss_aux`` with the
            alignment loss, if there is one.
        """
        feats, kwargs = self._extract_feat(inputs, test_mode)
        return as_input(feats), kwargs

    def _extract_feat(self, inputs: Tensor, test_mode: bool) -> tuple:
        views = inputs.flatten(0, 1)
        if test_mode and self.batch_statistics:
            if self._is_watched and inputs.shape[1] > 1:
                raise ValueError(
                    'with `model.test_cfg.batch_statistics` Grad-CAM takes one '
                    f'view, got {inputs.shape[1]}; fix the test pipeline')
            feats = [
                self._network(view, with_loss=False)[1]
                for view in inputs.unbind(1)
            ]
            return tuple(
                torch.stack(part, dim=1).flatten(0, 1)
                for part in zip(*feats)), dict()
        if test_mode:
            if self.compiled and not self.compiled_views:
                self.compiled_views = len(views)
            limit = self.compiled_views or len(views)
            limit = (self.test_cfg or dict()).get('max_testing_views', limit)
            if self._is_watched:
                limit = len(views)
            feats = [
                self._predict_feat(part, limit) for part in views.split(limit)
            ]
            return tuple(torch.cat(part) for part in zip(*feats)), dict()
        if self.compiled:
            # The last batch of an epoch may be smaller.
            torch._dynamo.maybe_mark_dynamic(views, 0)
        features, feats = self._network(views)
        if features.align_loss is None:
            return feats, dict()
        loss_align = self.align_loss_weight * features.align_loss.sum()
        return feats, dict(loss_aux=dict(loss_align=loss_align))

    def _predict_feat(self, views: Tensor, size: int) -> Tuple[Tensor, ...]:
        batch = len(views)
        if self.compiled:
            # Another size, or a slice of a larger tensor, adds a graph.
            missing = views[-1:].expand(size - batch, *views.shape[1:])
            views = torch.cat([views, missing])
        _, feats = self._network(views, with_loss=False)
        return tuple(part[:batch] for part in feats)

    def _network(self, views: Tensor,
                 **kwargs) -> Tuple[ILAFeatures, Tuple[Tensor, ...]]:
        """Get the backbone's features, and the head's inputs from them."""
        precision = statistics = nullcontext()
        if self.bf16:
            precision = torch.autocast(views.device.type, torch.bfloat16)
        if self.batch_statistics and not self.training:
            statistics = use_batch_statistics(self)
        with precision, statistics:
            # Hooks of Grad-CAM cannot be compiled.
            run = self.backbone._call_impl if self._is_watched \
                else self.backbone
            features = run(views, return_features=True, **kwargs)
            feats = head_inputs(features, getattr(self, 'neck', None),
                                self.backbone.out_type)
        if self.bf16:
            # The head's temperature would amplify rounding of the cosines.
            feats = tuple(part.float() for part in feats)
        if self.compiled and not self.training:
            # The next run of a CUDA graph overwrites the outputs of this one.
            feats = tuple(part.clone() for part in feats)
        return features, feats

    @staticmethod
    def _as_views(inputs: Tensor) -> Tensor:
        """Turn videos ``(B, T, 3, H, W)`` into single views; keep views."""
        if inputs.dim() == 5 and inputs.shape[2] == 3:
            return inputs.transpose(1, 2)[:, None]
        if inputs.dim() != 6:
            raise ValueError('expected videos (B, T, 3, H, W) or views '
                             f'(N, M, 3, T, H, W), got {tuple(inputs.shape)}')
        return inputs

    @torch.no_grad()
    def encode_video(self, inputs: Tensor) -> Tensor:
        """Embed videos.

        Args:
            inputs (Tensor): Normalised videos, ``(N, T, 3, H, W)``, or views,
                ``(N, M, 3, T, H, W)``.

        Returns:
            Tensor: ``(N, E)`` of length 1, the mean direction of the views.
        """
        views = self._as_views(inputs)
        feats, _ = self._extract_feat(views, test_mode=True)
        video = F.normalize(
            video_features(feats), dim=-1).unflatten(0, views.shape[:2])
        return F.normalize(video.mean(dim=1), dim=-1)

    def encode_text(self, names: Union[str, Sequence[str]]) -> Tensor:
        """Embed one or several names in the head's templates.

        Without video-specific prompts, dot products with the embeddings of
        :meth:`encode_video` are the cosines that the head scales.

        Returns:
            Tensor: ``(K, E)`` of length 1, the mean direction of the
            templates.

        Raises:
            ValueError: The head has no text tower.
        """
        check_text_tower(self.cls_head)
        names = [names] if isinstance(names, str) else names
        return F.normalize(self.cls_head.encode_names(names), dim=-1)

    def _forward(self, inputs: Tensor, disturb: Optional[bool] = None) -> dict:
        """Get the outputs of all parts of the network.

        Args:
            inputs (Tensor): Normalised videos, ``(B, T, 3, H, W)``, or views,
                ``(N, M, 3, T, H, W)`` with ``B = N * M``.
            disturb (bool, optional): Whether to disturb the alignment's
                masks. None means in training only.

        Returns:
            dict[str, Tensor]: ``logits`` (B, num_classes); ``video`` (B, E);
            with an alignment ``points`` (layers, B, T - 1, 4), x and y in the
            earlier and in the later frame of each pair, or ``4 * K`` numbers
            for ``K`` points per frame, and ``cos_loss`` (layers,), not
            weighted; with a text head ``text`` (num_classes, E) and, if it
            has a text tower, ``tokens`` (num_classes * templates, 77).
        """
        views = self._as_views(inputs).flatten(0, 1)
        features, feats = self._network(views, disturb=disturb)
        outputs = dict(
            logits=self.cls_head(as_input(feats)), video=video_features(feats))
        if features.points is not None:
            outputs.update(
                points=features.points.flatten(3),
                cos_loss=features.align_loss)
        if isinstance(self.cls_head, ILATextHead):
            outputs['text'] = self.cls_head.text_features
            if self.cls_head.text_encoder is not None:
                outputs['tokens'] = self.cls_head.tokens
        return outputs
