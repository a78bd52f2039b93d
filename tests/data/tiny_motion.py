# A model that learns nothing, but quickly.
_base_ = ['../../configs/ila_motion.py']

model = dict(
    backbone=dict(
        temporal=dict(
            type='TokenAlignment',
            predictor=dict(channels=8, hidden_channels=8)),
        arch=dict(
            embed_dims=32,
            num_layers=2,
            feedforward_channels=64,
            patch_size=8,
            out_channels=16),
        img_size=32),
    neck=dict(embed_dims=16, num_frames=4),
    cls_head=dict(in_channels=16),
    align_loss_weight=1.)
