_base_ = ['adamw_50e.py']

# The linear head has the learning rate of the multi-frame transformer, since
# it is a part of that in the released code.
optim_wrapper = dict(
    paramwise_cfg={'.cls_head.': dict(lr_mult=50., decay_mult=3.)})
