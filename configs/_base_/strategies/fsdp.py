# Shards weights, gradients and the optimizer's state.
runner_type = 'FlexibleRunner'
strategy = dict(type='ILAFSDPStrategy')
