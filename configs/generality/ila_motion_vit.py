# For benchmarks/ablation.py on generated videos, like the other
# ila_motion_*.py here.
_base_ = ['../ila_motion_ablation.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='ILABackbone',
        image=dict(
            type='MMPretrainImage',
            img_size=_base_.crop_size,
            model=dict(
                type='mmpretrain.VisionTransformer',
                arch=dict(
                    embed_dims=64,
                    num_layers=2,
                    num_heads=2,
                    feedforward_channels=256),
                patch_size=8)),
        temporal=_base_.model.backbone.temporal))
