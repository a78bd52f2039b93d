_base_ = ['ila_in1k-b16_k400.py']

# From mmpretrain's model zoo, trained on ImageNet-21k without labels, and
# without the last norm: download.openmmlab.com/mmpretrain/v1.0/eva02/
image_weights = 'checkpoints/eva02-base-p14_pre_in21k_20230505-2f2d4d3c.pth'

# Erased areas are filled with the mean.
augments = [
    dict(step, value=(123, 117,
                      104)) if step.get('op') == 'RandomErasing' else step
    for step in _base_.model.data_preprocessor.augments
]
model = dict(
    backbone=dict(
        image=dict(
            model=dict(
                _delete_=True,
                type='mmpretrain.ViTEVA02',
                arch='base',
                patch_size=14,
                sub_ln=True,
                init_cfg=dict(
                    type='Pretrained',
                    checkpoint=image_weights,
                    prefix='backbone.')))),
    data_preprocessor=dict(
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        augments=augments))

# EVA-02's names of norms, which have no weight decay in any backbone.
optim_wrapper = dict(paramwise_cfg={
    'norm1.weight': dict(decay_mult=0.),
    'norm2.weight': dict(decay_mult=0.)
})
