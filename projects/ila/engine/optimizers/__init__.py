from .optional_amp_optim_wrapper import OptionalAmpOptimWrapper

__all__ = ['OptionalAmpOptimWrapper']
