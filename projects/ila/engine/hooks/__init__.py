from .disturbance_decay_hook import DisturbanceDecayHook

__all__ = ['DisturbanceDecayHook']
