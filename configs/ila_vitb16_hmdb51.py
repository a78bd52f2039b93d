_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/hmdb51.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

model = dict(cls_head=dict(class_names='data/hmdb51/class_names.txt'))
