_base_ = ['kinetics400.py']

# The first of three splits; the others have similar names.
data_root = 'data/ucf101/'

train_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'ucf101_train_split_1_videos.txt',
        data_prefix=dict(video=data_root + 'videos')))
val_dataloader = dict(
    dataset=dict(
        ann_file=data_root + 'ucf101_val_split_1_videos.txt',
        data_prefix=dict(video=data_root + 'videos')))
test_dataloader = val_dataloader
