_base_ = [
    '../_base_/models/ila_vitb16.py', '../_base_/datasets/kinetics400.py',
    '../_base_/schedules/adamw_50e_released.py', '../_base_/default_runtime.py'
]

model = dict(
    # To train CLIP as well, set `model.backbone.freeze_image=False`.
    backbone=dict(temporal=dict(type='ReleasedAlignment'), freeze_image=True),
    cls_head=dict(freeze_prompt=True))

# The authors' pipeline does not mirror videos.
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'Flip'
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
