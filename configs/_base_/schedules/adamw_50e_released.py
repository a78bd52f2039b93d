_base_ = ['adamw_50e_linear.py']

# The schedule of the authors' code: the warm-up starts from 0 (nearly so with
# LinearLR), and all groups end at the same rate. Settings of the linear head
# have no effect on the frozen text head.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        begin=0,
        end=5,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=8e-8,
        begin=5,
        end=50,
        by_epoch=True,
        convert_to_iter_based=True)
]
