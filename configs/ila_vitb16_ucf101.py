_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/ucf101.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

# CLIP's ViT-B/16, or an ILA checkpoint of the same architecture.
load_from = 'checkpoints/ViT-B-16.pt'

model = dict(cls_head=dict(class_names='data/ucf101/class_names.txt'))
