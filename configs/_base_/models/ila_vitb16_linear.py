_base_ = ['ila_vitb16.py']

model = dict(
    # The released predictor, which reproduces two of the three published
    # GFLOPs for Something-Something v2 within 2 %.
    backbone=dict(
        temporal=dict(
            predictor=dict(stem='dense', channels=256, refine=True))),
    cls_head=dict(
        _delete_=True,
        type='ILALinearHead',
        num_classes=174,
        in_channels=512,
        label_smooth_eps=0.1,
        average_clips='prob'))
