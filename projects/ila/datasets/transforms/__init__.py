from .loading import SafeDecordDecode, SafeDecordInit

__all__ = ['SafeDecordDecode', 'SafeDecordInit']
