# Shards gradients and the optimizer's state.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='ILADeepSpeedStrategy',
    # Allow any optimizer of PyTorch.
    config=dict(zero_allow_untested_optimizer=True),
    zero_optimization=dict(stage=2))
