_base_ = [
    '../_base_/models/ila_vitb16.py', '../_base_/datasets/kinetics400.py',
    '../_base_/schedules/adamw_50e_linear.py', '../_base_/default_runtime.py'
]

# From mmpretrain's model zoo, trained on ImageNet-21k and then ImageNet-1k:
# download.openmmlab.com/mmclassification/v0/vit/finetune/
image_weights = 'checkpoints/' \
    'vit-base-p16_in21k-pre-3rdparty_ft-64xb64_in1k-384_20210928-98e8652b.pth'

# Erased areas are filled with the mean.
augments = [
    dict(step, value=(128, 128,
                      128)) if step.get('op') == 'RandomErasing' else step
    for step in _base_.model.data_preprocessor.augments
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='ILABackbone',
        image=dict(
            type='MMPretrainImage',
            img_size=224,
            model=dict(
                type='mmpretrain.VisionTransformer',
                arch='base',
                patch_size=16,
                init_cfg=dict(
                    type='Pretrained',
                    checkpoint=image_weights,
                    prefix='backbone.'))),
        temporal=dict(type='TokenAlignment')),
    neck=dict(embed_dims=768),
    cls_head=dict(
        _delete_=True,
        type='ILALinearHead',
        num_classes=400,
        in_channels=768,
        label_smooth_eps=0.1,
        average_clips='prob'),
    data_preprocessor=dict(
        mean=[127.5] * 3, std=[127.5] * 3, augments=augments))
