# Generated videos in which a small shape draws figures, see
# projects/ila/datasets/motion/figures.py. The model has the same parts as in
# configs/gestures, for motion, but is trained from scratch.
_base_ = ['ila_motion.py']

data_root = 'data/figures'
data_settings = dict(level='figures')
work_dir = 'work_dirs/ila_figures'
max_epochs = 4

model = dict(
    backbone=dict(
        temporal=dict(
            _delete_=True,
            type='TokenAlignment',
            # Otherwise the still background would dominate the loss.
            motion_loss=True,
            predictor=dict(type='HeatMapPredictor'))),
    neck=dict(
        _delete_=True,
        type='TrajectoryTransformer',
        embed_dims=64,
        num_frames={{_base_.num_frames}}),
    align_loss_weight=0.1)
# The block after the alignment has no effect on the output.
find_unused_parameters = True

dataset = dict(data_prefix=dict(video=f'{data_root}/videos'))
train_dataloader = dict(
    dataset=dict(**dataset, ann_file=f'{data_root}/train.txt'))
val_dataloader = dict(dataset=dict(**dataset, ann_file=f'{data_root}/val.txt'))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=2)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
