_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/ucf101.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

model = dict(cls_head=dict(class_names='data/ucf101/class_names.txt'))
