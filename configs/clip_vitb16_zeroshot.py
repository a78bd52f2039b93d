# Plain CLIP, without training: the features of 8 frames are averaged and
# compared with the texts of the class names.
_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/kinetics400.py',
    '_base_/default_runtime.py'
]

load_from = 'open_clip:ViT-B-16-quickgelu/openai'

model = dict(
    backbone=dict(temporal=None),
    neck=None,
    cls_head=dict(prompt=None, templates=['a photo of {}.', 'a video of {}.']),
    data_preprocessor=dict(
        _delete_=True,
        type='ILADataPreprocessor',
        # As in CLIP.
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        format_shape='NCTHW'))

# One view, the centre crop of the frames.
test_pipeline = [
    dict(step, scale=(-1, _base_.crop_size), interpolation='area')
    if step['type'] == 'Resize' else step for step in _base_.val_pipeline
]
test_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
test_cfg = dict(type='TestLoop')

# There is nothing to train.
train_dataloader = None
val_dataloader = None
val_evaluator = None
