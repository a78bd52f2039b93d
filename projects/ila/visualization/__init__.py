from .alignment import draw_alignment

__all__ = ['draw_alignment']
