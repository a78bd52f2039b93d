_base_ = [
    '_base_/models/ila_vitb32.py', '_base_/datasets/kinetics400_16f.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

model = dict(neck=dict(num_frames=16))
