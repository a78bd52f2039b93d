_base_ = ['ila_vitb16.py']

num_classes = 174

model = dict(
    # The released predictor, with which two of the three published GFLOPs of
    # Something-Something v2 come out within 2 %.
    backbone=dict(
        temporal=dict(
            predictor=dict(stem='dense', channels=256, refine=True))),
    cls_head=dict(
        _delete_=True,
        type='ILALinearHead',
        num_classes=num_classes,
        in_channels=512,
        label_smooth_eps=0.1,
        average_clips='prob'),
    data_preprocessor=dict(
        blending=dict(augments=[
            dict(type='MixupBlending', num_classes=num_classes, alpha=0.8),
            dict(type='CutmixBlending', num_classes=num_classes, alpha=1.)
        ])))
