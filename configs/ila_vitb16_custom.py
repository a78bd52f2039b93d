# A template for videos of your own: change what is above `model`.
_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/kinetics400.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

# Each line of train.txt and val.txt is the path of a video in `videos` and the
# number of its class, from 0; each line of class_names.txt names a class, in
# that order.
data_root = 'data/custom/'
num_classes = 2
# CLIP's ViT-B/16 or an ILA checkpoint of the same architecture. The released
# form trains with CLIP frozen: `model.backbone.freeze_image=True`.
load_from = 'checkpoints/ViT-B-16.pt'
batch_size = 8
# Where left and right are different classes, 0.
flip_ratio = 0.5

model = dict(
    cls_head=dict(class_names=data_root + 'class_names.txt'),
    data_preprocessor=dict(
        blending=dict(augments=[
            dict(type='MixupBlending', num_classes=num_classes, alpha=0.8),
            dict(type='CutmixBlending', num_classes=num_classes, alpha=1.)
        ])))

train_pipeline = _base_.train_pipeline
train_pipeline[6].flip_ratio = flip_ratio
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        ann_file=data_root + 'train.txt',
        data_prefix=dict(video=data_root + 'videos'),
        num_classes=num_classes,
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'val.txt',
        data_prefix=dict(video=data_root + 'videos'),
        num_classes=num_classes))
test_dataloader = val_dataloader
