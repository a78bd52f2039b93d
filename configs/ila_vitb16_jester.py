_base_ = [
    '_base_/models/ila_vitb16_linear.py', '_base_/datasets/jester.py',
    '_base_/schedules/adamw_50e_linear.py', '_base_/default_runtime.py'
]

# CLIP's ViT-B/16, or an ILA checkpoint of the same architecture.
load_from = 'checkpoints/ViT-B-16.pt'

model = dict(cls_head=dict(num_classes=27))
