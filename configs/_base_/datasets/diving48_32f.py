_base_ = ['kinetics400.py']

data_root = 'data/diving48/'
num_frames = 32

train_pipeline, val_pipeline, test_pipeline = [[
    dict(step, clip_len=num_frames)
    if step['type'] == 'UniformSample' else step for step in pipeline
] for pipeline in (_base_.train_pipeline, _base_.val_pipeline,
                   _base_.test_pipeline)]

dataset = dict(data_prefix=dict(video=data_root + 'videos'))
val_dataset = dict(
    ann_file=data_root + 'diving48_val_list_videos.txt', **dataset)
train_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'diving48_train_list_videos.txt',
        pipeline=train_pipeline,
        **dataset))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline, **val_dataset))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **val_dataset))
