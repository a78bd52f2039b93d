_base_ = [
    '_base_/models/ila_vitb16_linear.py', '_base_/datasets/jester.py',
    '_base_/schedules/adamw_50e_linear.py', '_base_/default_runtime.py'
]

model = dict(cls_head=dict(num_classes=27))
