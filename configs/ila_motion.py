_base_ = ['_base_/default_runtime.py']

# Generated videos, see projects/ila/datasets/motion/.
data_root = 'data/motion'
data_settings = dict(seed=0, num_frames=16, size=64)
work_dir = 'work_dirs/ila_motion'
randomness = dict(seed=0)
num_frames = 8
crop_size = 64

model = dict(
    type='ILARecognizer',
    backbone=dict(
        type='ILAVisionTransformer',
        arch=dict(
            embed_dims=64,
            num_layers=1,
            num_heads=2,
            feedforward_channels=256,
            # With larger patches, results depend strongly on the seed.
            patch_size=8,
            out_channels=64),
        img_size=crop_size,
        # Without CLIP's weights, TokenAlignment learns these videos slowly.
        temporal=dict(
            type='ReleasedAlignment',
            predictor=dict(channels=64, hidden_channels=32))),
    neck=dict(
        type='MultiframeIntegrationTransformer',
        embed_dims=64,
        num_frames=num_frames),
    cls_head=dict(
        type='ILALinearHead',
        num_classes=10,
        in_channels=64,
        dropout_ratio=0.,
        init_std=0.1),
    # With this loss, training from scratch started more slowly.
    align_loss_weight=0.,
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))

# No flip: it would turn most motions into those of another class.
train_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=num_frames),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(72, 72)),
    dict(type='RandomCrop', size=crop_size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=num_frames, test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(72, 72)),
    dict(type='CenterCrop', crop_size=crop_size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = [
    dict(type='SafePyAVInit'),
    dict(
        type='UniformSample', clip_len=num_frames, num_clips=4,
        test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(72, 72)),
    dict(type='CenterCrop', crop_size=crop_size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

dataset = dict(
    type='ILAVideoDataset', data_prefix=dict(video=f'{data_root}/videos'))
train_dataloader = dict(
    batch_size=32,
    # On two cores, a worker would take as much time from the training as it
    # saves.
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **dataset, ann_file=f'{data_root}/train.txt', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        ann_file=f'{data_root}/val.txt',
        test_mode=True,
        pipeline=val_pipeline))
test_dataloader = dict(
    batch_size=25,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        ann_file=f'{data_root}/val.txt',
        test_mode=True,
        pipeline=test_pipeline))
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.),
    clip_grad=dict(max_norm=1.))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        begin=0,
        end=1,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=1,
        end=8,
        by_epoch=True,
        convert_to_iter_based=True)
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
