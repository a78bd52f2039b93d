_base_ = ['ila_motion_vit.py']

model = dict(
    backbone=dict(
        image=dict(model=dict(layer_scale_init_value=1e-1), num_registers=4)))
