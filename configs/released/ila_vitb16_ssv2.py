_base_ = [
    '../_base_/models/ila_vitb16_linear.py', '../_base_/datasets/sthv2.py',
    '../_base_/schedules/adamw_50e_released.py', '../_base_/default_runtime.py'
]

model = dict(
    # To train CLIP as well, set `model.backbone.freeze_image=False`.
    backbone=dict(temporal=dict(type='ReleasedAlignment'), freeze_image=True))
