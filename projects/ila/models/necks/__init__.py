from .multiframe_integration_transformer import \
    MultiframeIntegrationTransformer

__all__ = ['MultiframeIntegrationTransformer']
