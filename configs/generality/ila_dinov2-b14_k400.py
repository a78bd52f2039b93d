_base_ = ['ila_in1k-b16_k400.py']

# From mmpretrain's model zoo: download.openmmlab.com/mmpretrain/v1.0/dinov2/
image_weights = 'checkpoints/' \
    'vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth'

# Erased areas are filled with the mean.
augments = [
    dict(step, value=(124, 116,
                      104)) if step.get('op') == 'RandomErasing' else step
    for step in _base_.model.data_preprocessor.augments
]
# These weights have no registers; `num_registers=4` of the image model adds
# new ones.
model = dict(
    backbone=dict(
        image=dict(
            model=dict(
                patch_size=14,
                layer_scale_init_value=1e-5,
                init_cfg=dict(checkpoint=image_weights)))),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        augments=augments))

# LayerScale values are small, so weight decay should not shrink them.
optim_wrapper = dict(paramwise_cfg={
    'gamma1.weight': dict(decay_mult=0.),
    'gamma2.weight': dict(decay_mult=0.)
})
