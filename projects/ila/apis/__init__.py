from .released import load_released, released_arrays

__all__ = ['load_released', 'released_arrays']
