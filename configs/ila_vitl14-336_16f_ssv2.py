_base_ = [
    '_base_/models/ila_vitl14-336_linear.py',
    '_base_/datasets/sthv2-336_16f.py', '_base_/schedules/adamw_50e_linear.py',
    '_base_/default_runtime.py'
]

model = dict(neck=dict(num_frames=16))
