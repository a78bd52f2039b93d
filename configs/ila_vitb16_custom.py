# A template for your own videos: copy it, inherit from it with `_base_`, or
# change it with --cfg-options. It suits classes that differ in appearance. If
# they differ only in motion, start from configs/gestures/ for few clips; for
# thousands, set `difference` and `motion_loss` in `model.backbone.temporal`.
_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/kinetics400.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

# Each line of train.txt and val.txt is the path of a video in `videos` and the
# number of its class, from 0; each line of class_names.txt names a class, in
# that order.
data_root = 'data/custom/'
# CLIP's ViT-B/16 or an ILA checkpoint of the same architecture. The released
# code trains with CLIP frozen: `model.backbone.freeze_image=True`.
load_from = 'checkpoints/ViT-B-16.pt'

# The number of classes is the number of names.
model = dict(cls_head=dict(class_names=data_root + 'class_names.txt'))

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        # Set it to False if left and right are different classes.
        mirror=True,
        ann_file=data_root + 'train.txt',
        data_prefix=dict(video=data_root + 'videos')))
val_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'val.txt',
        data_prefix=dict(video=data_root + 'videos')))
test_dataloader = val_dataloader
