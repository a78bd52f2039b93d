# The base config of benchmarks/ablation.py, which changes parts of it.
_base_ = ['ila_motion.py']

model = dict(
    backbone=dict(
        temporal=dict(type='TokenAlignment'), arch=dict(num_layers=2)),
    align_loss_weight=1.)

train_cfg = dict(max_epochs=3, val_interval=1)
# New parts have ten times the learning rate of the image model, as with CLIP.
optim_wrapper = dict(
    constructor='SwinOptimWrapperConstructor',
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(
        _delete_=True,
        **{
            '.temporal.': dict(lr_mult=10.),
            '.neck.': dict(lr_mult=10.),
            '.cls_head.': dict(lr_mult=10.),
            'ln1.weight': dict(decay_mult=0.),
            'ln2.weight': dict(decay_mult=0.),
            'ln.weight': dict(decay_mult=0.),
            'norm.weight': dict(decay_mult=0.),
            'bn.weight': dict(decay_mult=0.),
            'bias': dict(decay_mult=0.),
        }))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = 3
