_base_ = ['ila_vitb16_linear.py']

model = dict(
    backbone=dict(arch='clip-l/14'),
    neck=dict(embed_dims=768),
    cls_head=dict(in_channels=768))
