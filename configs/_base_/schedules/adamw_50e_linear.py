_base_ = ['adamw_50e.py']

# The linear head learns as the multi-frame transformer, to which it belongs
# in the released code.
optim_wrapper = dict(
    paramwise_cfg={'.cls_head.': dict(lr_mult=50., decay_mult=3.)})
