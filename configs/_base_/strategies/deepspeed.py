# Shards gradients and the optimizer's state.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='ILADeepSpeedStrategy',
    # PyTorch's optimizers, whatever they are.
    config=dict(zero_allow_untested_optimizer=True),
    zero_optimization=dict(stage=2))
