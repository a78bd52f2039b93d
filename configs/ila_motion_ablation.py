# What benchmarks/ablation.py changes a part of.
_base_ = ['ila_motion.py']

model = dict(
    backbone=dict(form='token', arch=dict(num_layers=2)), align_loss_weight=1.)

train_cfg = dict(max_epochs=4, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = 4
