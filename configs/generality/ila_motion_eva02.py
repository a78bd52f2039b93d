_base_ = ['ila_motion_vit.py']

model = dict(
    backbone=dict(
        image=dict(model=dict(type='mmpretrain.ViTEVA02', sub_ln=True))))
