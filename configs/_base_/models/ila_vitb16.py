model = dict(
    type='ILARecognizer',
    backbone=dict(
        type='ILAVisionTransformer',
        arch='clip-b/16',
        img_size=224,
        temporal=dict(type='TokenAlignment')),
    neck=dict(
        type='MultiframeIntegrationTransformer',
        embed_dims=512,
        num_frames=8,
        num_layers=1),
    cls_head=dict(
        type='ILATextHead',
        in_channels=512,
        patch_channels=768,
        class_names='kinetics400',
        label_smooth_eps=0.1,
        average_clips='prob'),
    data_preprocessor=dict(
        type='ILADataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
        # On the GPU, on uint8, after the pipeline.
        augments=[
            dict(
                type='ClipColorJitter',
                p=0.8,
                brightness=0.4,
                contrast=0.4,
                saturation=0.2,
                hue=0.1),
            dict(type='ClipTorchVision', op='RandomGrayscale', p=0.2),
            dict(
                type='ClipTorchVision',
                op='RandomErasing',
                p=0.25,
                value=(124, 116, 104))
        ],
        blending=dict(
            type='RandomBatchAugment',
            augments=[
                dict(type='MixupBlending', alpha=0.8),
                dict(type='CutmixBlending', alpha=1.)
            ],
            probs=[0.5, 0.5])))
