_base_ = ['kinetics400.py']

data_root = 'data/charades/'
num_frames = 32

train_pipeline, val_pipeline, test_pipeline = [[
    dict(step, clip_len=num_frames)
    if step['type'] == 'UniformSample' else step for step in pipeline
] for pipeline in (_base_.train_pipeline, _base_.val_pipeline,
                   _base_.test_pipeline)]

# Whole videos of several actions.
several = dict(multi_class=True, num_classes=157)
train_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'charades_train_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos'),
        pipeline=train_pipeline,
        **several))
val_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'charades_val_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos'),
        pipeline=val_pipeline,
        **several))
test_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'charades_val_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos'),
        pipeline=test_pipeline,
        **several))

val_evaluator = dict(
    type='AccMetric', metric_list=('mean_average_precision', ))
test_evaluator = val_evaluator
