_base_ = [
    '_base_/models/ila_vitb16_linear.py', '_base_/datasets/charades_32f.py',
    '_base_/schedules/adamw_50e_linear.py', '_base_/default_runtime.py'
]

# CLIP's ViT-B/16, or an ILA checkpoint of the same architecture.
load_from = 'checkpoints/ViT-B-16.pt'

# A linear head, since sigmoids need a bias, which the text head lacks.
model = dict(
    neck=dict(num_frames=32),
    cls_head=dict(num_classes=157, multi_class=True, label_smooth_eps=0.))
