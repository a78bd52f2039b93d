train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=50, val_begin=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 GPUs x 8 clips x 4 = 256 clips per step. The keys are parts of parameter
# names; factors of all matching keys multiply. CLIP gets lr and weight_decay.
# The rates are those of the released code, but it freezes CLIP, prompts and
# temperature.
optim_wrapper = dict(
    type='OptionalAmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    accumulative_counts=4,
    constructor='SwinOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=8e-6, betas=(0.9, 0.98), eps=1e-8, weight_decay=1e-3),
    paramwise_cfg={
        '.temporal.': dict(lr_mult=62.5, decay_mult=10.),
        # The same rate as for the head: 0.16 * 62.5 = 10.
        '.skip_': dict(lr_mult=0.16, decay_mult=0.1),
        '.message_attn.': dict(lr_mult=0.16, decay_mult=0.1),
        '.temporal_attn.': dict(lr_mult=0.16, decay_mult=0.1),
        '.temporal_ln.': dict(lr_mult=0.16, decay_mult=0.1),
        '.neck.': dict(lr_mult=50., decay_mult=3.),
        '.neck.pos_embed': dict(decay_mult=0.),
        '.cls_head.': dict(lr_mult=10.),
        'ln1.weight': dict(decay_mult=0.),
        'ln2.weight': dict(decay_mult=0.),
        'ln.weight': dict(decay_mult=0.),
        'norm.weight': dict(decay_mult=0.),
        'bn.weight': dict(decay_mult=0.),
        'bias': dict(decay_mult=0.),
    })

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        begin=0,
        end=5,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=5,
        end=50,
        by_epoch=True,
        convert_to_iter_based=True)
]

# The number of clips per iteration on 8 GPUs, before accumulation.
auto_scale_lr = dict(enable=False, base_batch_size=64)
