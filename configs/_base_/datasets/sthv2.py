_base_ = ['kinetics400.py']

data_root = 'data/sthv2/'

# No flip: it would turn a motion to the left into one to the right.
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'Flip'
]

train_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'sthv2_train_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'sthv2_val_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos')))
test_dataloader = val_dataloader
