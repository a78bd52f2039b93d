_base_ = ['kinetics400.py']

data_root = 'data/jester/'

# Each video is a folder of frames. There is no flip: it would turn a swipe to
# the left into one to the right.
train_pipeline, val_pipeline, test_pipeline = [[
    dict(type='RawFrameDecode') if step['type'] == 'SafePyAVDecode' else step
    for step in pipeline if step['type'] not in ('SafePyAVInit', 'Flip')
] for pipeline in (_base_.train_pipeline, _base_.val_pipeline,
                   _base_.test_pipeline)]

dataset = dict(
    type='RawframeDataset',
    data_prefix=dict(img=data_root + 'rawframes'),
    filename_tmpl='{:05}.jpg')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        ann_file=data_root + 'jester_train_list_rawframes.txt',
        pipeline=train_pipeline,
        **dataset))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        ann_file=data_root + 'jester_val_list_rawframes.txt',
        test_mode=True,
        pipeline=val_pipeline,
        **dataset))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        ann_file=data_root + 'jester_val_list_rawframes.txt',
        test_mode=True,
        pipeline=test_pipeline,
        **dataset))
