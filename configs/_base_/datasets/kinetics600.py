_base_ = ['kinetics400.py']

data_root = 'data/kinetics600/'

train_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'kinetics600_train_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos_train')))
val_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'kinetics600_val_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos_val')))
test_dataloader = val_dataloader
