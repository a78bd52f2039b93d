_base_ = ['kinetics400.py']

data_root = 'data/charades/'
num_frames = 32

train_pipeline, val_pipeline, test_pipeline = [[
    dict(step, clip_len=num_frames)
    if step['type'] == 'UniformSample' else step for step in pipeline
] for pipeline in (_base_.train_pipeline, _base_.val_pipeline,
                   _base_.test_pipeline)]

# Whole videos, each with several actions.
dataset = dict(
    data_prefix=dict(video=data_root + 'videos'),
    multi_class=True,
    num_classes=157)
val_dataset = dict(
    ann_file=data_root + 'charades_val_list_videos.txt', **dataset)
train_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'charades_train_list_videos.txt',
        pipeline=train_pipeline,
        **dataset))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline, **val_dataset))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **val_dataset))

val_evaluator = dict(
    type='AccMetric', metric_list=('mean_average_precision', ))
test_evaluator = val_evaluator
